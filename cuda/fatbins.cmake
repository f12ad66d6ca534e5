# The CUDA kernels of the engine and of the bench, one fatbin per .cu, for every architecture that the compiler knows:
#   cuda/13/<op>.fatbin   by nvcc 13, for drivers from 580
#   cuda/12/<op>.fatbin   by NVRTC 12.9 from the same sources, for drivers from 525; or by an nvcc 12
# in the build folder, and likewise bench/cuda/. Where there is no nvcc there are no kernels. CMake's own CUDA
# language is not used: it wants a whole toolkit with a runtime to link, and there is nothing to link here.
# The machine code of an architecture runs on every later one of its generation: 8.0 serves 8.6 and 8.9, 9.0 serves 9.0a.
set(architectures 80 90 100 120)
set(cuda_folders cuda bench/cuda)
file(GLOB cuda_headers CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/*.cuh)

execute_process(
  COMMAND bash -c "source \"$PWD/scripts/toolchain.sh\"; find_nvcc && echo \"$nvcc\" || (($? == 1))"
  WORKING_DIRECTORY ${PROJECT_SOURCE_DIR}
  OUTPUT_VARIABLE nvcc OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
if(NOT nvcc)
  message(STATUS "No nvcc: no CUDA kernels; scripts/cuda_toolchain gets one")
  file(REMOVE_RECURSE ${PROJECT_BINARY_DIR}/cuda ${PROJECT_BINARY_DIR}/bench/cuda)
  return()
endif()
cmake_path(NORMAL_PATH nvcc)
execute_process(COMMAND ${nvcc} --version OUTPUT_VARIABLE nvcc_version COMMAND_ERROR_IS_FATAL ANY)
if(NOT nvcc_version MATCHES "V(([0-9]+)[0-9.]+)" OR CMAKE_MATCH_2 LESS 12)
  message(FATAL_ERROR "${nvcc} is no nvcc of CUDA 12 or newer; LACO_NVCC names another, LACO_NVCC=none builds without")
endif()
set(nvcc_version ${CMAKE_MATCH_1})
set(nvcc_major ${CMAKE_MATCH_2})
message(STATUS "CUDA kernels by nvcc ${nvcc_version}: ${nvcc}")

# Not compressed: drivers before 550 do not know the compression, and our own checks read the files.
set(nvcc_flags -std=c++17 -O3 -Werror all-warnings --no-compress -I${CMAKE_CURRENT_LIST_DIR})
execute_process(COMMAND ${nvcc} --list-gpu-code OUTPUT_VARIABLE known COMMAND_ERROR_IS_FATAL ANY)
set(known_architectures)
foreach(architecture IN LISTS architectures)
  if(known MATCHES "sm_${architecture}\n")
    list(APPEND known_architectures ${architecture})
  else()
    message(STATUS "This nvcc does not know sm_${architecture}: left out")
  endif()
endforeach()
# The sources are read twice, not once for each architecture: no kernel asks which one it is compiled for, and the PTX of
# 8.0 gives 9.0 the same instructions as its own, that of 10.0 gives 12.0 the same. The PTX of 8.0 stays in the fatbin for
# architectures still to come, which a driver compiles itself.
set(code_80 compute_80)
set(code_100)
foreach(architecture IN LISTS known_architectures)
  if(architecture LESS 100)
    list(APPEND code_80 sm_${architecture})
  else()
    list(APPEND code_100 sm_${architecture})
  endif()
endforeach()
foreach(virtual 80 100)
  if(code_${virtual})
    list(JOIN code_${virtual} , code)
    list(APPEND nvcc_flags -gencode arch=compute_${virtual},code=[${code}])
  endif()
endforeach()
# Another compiler or another flag makes all of them anew.
set(nvcc_used ${PROJECT_BINARY_DIR}/nvcc.txt)
file(CONFIGURE OUTPUT ${nvcc_used} CONTENT "${nvcc} ${nvcc_version} ${nvcc_flags}\n")

set(python12 ${PROJECT_SOURCE_DIR}/target/cuda/bin/python)
set(nvrtc12 ${PROJECT_SOURCE_DIR}/scripts/nvrtc_fatbin)
if(nvcc_major EQUAL 12)
  set(python12)
elseif(EXISTS ${python12})
  message(STATUS "CUDA kernels for drivers before 580 by NVRTC 12.9")
else()
  message(STATUS "No NVRTC 12.9: no CUDA kernels for drivers before 580; scripts/cuda_toolchain gets it")
  set(python12)
endif()

set(fatbins)
foreach(folder IN LISTS cuda_folders)
  file(GLOB cuda_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/${folder}/*.cu)
  foreach(source IN LISTS cuda_sources)
    cmake_path(GET source STEM op)
    set(made_in ${PROJECT_BINARY_DIR}/${folder}/${nvcc_major})
    file(MAKE_DIRECTORY ${made_in})
    add_custom_command(OUTPUT ${made_in}/${op}.fatbin
      COMMAND ${nvcc} -fatbin ${nvcc_flags} -MD -MF ${op}.d -MT ${made_in}/${op}.fatbin -o ${op}.fatbin ${source}
      DEPENDS ${source} ${nvcc_used}
      DEPFILE ${made_in}/${op}.d
      WORKING_DIRECTORY ${made_in} COMMENT "nvcc ${op}" VERBATIM)
    list(APPEND fatbins ${made_in}/${op}.fatbin)
    if(python12)
      # NVRTC would load a libcuda.so.1 that lies in the current folder: there is none in this one.
      set(made_in ${PROJECT_BINARY_DIR}/${folder}/12)
      file(MAKE_DIRECTORY ${made_in})
      add_custom_command(OUTPUT ${made_in}/${op}.fatbin
        COMMAND ${python12} ${nvrtc12} ${CMAKE_CURRENT_LIST_DIR} ${source} ${op}.fatbin ${architectures}
        DEPENDS ${source} ${cuda_headers} ${nvrtc12} ${nvcc_used}
        WORKING_DIRECTORY ${made_in} COMMENT "NVRTC ${op}" VERBATIM)
      list(APPEND fatbins ${made_in}/${op}.fatbin)
    endif()
  endforeach()
  # What an earlier build left must not travel.
  file(GLOB stale ${PROJECT_BINARY_DIR}/${folder}/*/*.fatbin)
  list(REMOVE_ITEM stale ${fatbins})
  foreach(fatbin IN LISTS stale)
    file(REMOVE ${fatbin})
  endforeach()
endforeach()
add_custom_target(laco_fatbins ALL DEPENDS ${fatbins})
