# The CUDA kernels of the engine and of the bench, one fatbin per .cu, for every architecture that the compiler knows:
#   cuda/12/<op>.fatbin   by what scripts/cuda_toolchain installs of CUDA 12.9, or by an nvcc 12; for drivers from 525
#   cuda/13/<op>.fatbin   by an nvcc 13, where there is nothing else; for drivers from 580
# in the build folder, and likewise bench/cuda/. Where there is no compiler there are no kernels. CMake's own CUDA
# language is not used: it wants a whole toolkit with a runtime to link, and there is nothing to link here.
# The machine code of an architecture runs on every later one of its generation: 8.0 serves 8.6 and 8.9, 9.0 serves 9.0a.
set(LACO_ARCHITECTURES 80 90 100 120 CACHE STRING "The architectures of the CUDA kernels")
set(cuda_folders cuda bench/cuda)
file(GLOB cuda_headers CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/*.cuh)

execute_process(
  COMMAND bash -c
    "source \"$PWD/scripts/toolchain.sh\"; find_cuda_compiler && echo \"$cuda_compiler\" || (($? == 1))"
  WORKING_DIRECTORY ${PROJECT_SOURCE_DIR}
  OUTPUT_VARIABLE compiler OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
if(NOT compiler)
  message(STATUS "No CUDA compiler: no CUDA kernels; scripts/cuda_toolchain gets one")
  file(REMOVE_RECURSE ${PROJECT_BINARY_DIR}/cuda ${PROJECT_BINARY_DIR}/bench/cuda)
  return()
endif()
cmake_path(ABSOLUTE_PATH compiler BASE_DIRECTORY ${PROJECT_SOURCE_DIR} NORMALIZE)
if(compiler MATCHES "/nvrtc_fatbin$")
  set(by_nvcc FALSE)
  set(version 12.9)
  set(major 12)
else()
  set(by_nvcc TRUE)
  execute_process(COMMAND ${compiler} --version OUTPUT_VARIABLE version COMMAND_ERROR_IS_FATAL ANY)
  if(NOT version MATCHES "V(([0-9]+)[0-9.]+)" OR CMAKE_MATCH_2 LESS 12)
    message(FATAL_ERROR
      "${compiler} is no nvcc of CUDA 12 or newer; LACO_NVCC names another, LACO_NVCC=none builds without")
  endif()
  set(version ${CMAKE_MATCH_1})
  set(major ${CMAKE_MATCH_2})
  execute_process(COMMAND ${compiler} --list-gpu-code OUTPUT_VARIABLE known COMMAND_ERROR_IS_FATAL ANY)
endif()
message(STATUS "CUDA kernels by CUDA ${version}: ${compiler}")

# The sources are read twice, not once for each architecture: no kernel asks which one it is compiled for, and the PTX of
# 8.0 gives 9.0 the same instructions as its own, that of 10.0 gives 12.0 the same. The PTX of 8.0 stays in the fatbin for
# architectures still to come, which a driver compiles itself.
set(codes_80 compute_80)
set(codes_100)
foreach(architecture IN LISTS LACO_ARCHITECTURES)
  if(by_nvcc AND NOT known MATCHES "sm_${architecture}\n")
    message(STATUS "This nvcc does not know sm_${architecture}: left out")
  elseif(architecture LESS 100)
    list(APPEND codes_80 sm_${architecture})
  else()
    list(APPEND codes_100 sm_${architecture})
  endif()
endforeach()
set(flags)
foreach(virtual 80 100)
  list(JOIN codes_${virtual} , codes)
  if(codes AND by_nvcc)
    list(APPEND flags -gencode arch=compute_${virtual},code=[${codes}])
  elseif(codes)
    list(APPEND flags compute_${virtual}=${codes})
  endif()
endforeach()
if(by_nvcc)
  # Not compressed: drivers before 550 do not know the compression, and our own checks read the files.
  list(PREPEND flags -fatbin -std=c++17 -O3 -Werror all-warnings --no-compress -I${CMAKE_CURRENT_LIST_DIR})
endif()
# Another compiler or another flag makes all of them anew.
set(made_by ${PROJECT_BINARY_DIR}/cuda_compiler.txt)
file(CONFIGURE OUTPUT ${made_by} CONTENT "${compiler} ${version} ${flags}\n")

set(fatbins)
foreach(folder IN LISTS cuda_folders)
  set(made_in ${PROJECT_BINARY_DIR}/${folder}/${major})
  file(MAKE_DIRECTORY ${made_in})
  file(GLOB cuda_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/${folder}/*.cu)
  foreach(source IN LISTS cuda_sources)
    cmake_path(GET source STEM op)
    set(fatbin ${made_in}/${op}.fatbin)
    if(by_nvcc)
      add_custom_command(OUTPUT ${fatbin}
        COMMAND ${compiler} ${flags} -MD -MF ${op}.d -MT ${fatbin} -o ${op}.fatbin ${source}
        DEPENDS ${source} ${made_by}
        DEPFILE ${made_in}/${op}.d
        WORKING_DIRECTORY ${made_in} COMMENT "nvcc ${op}" VERBATIM)
    else()
      # NVRTC would load a libcuda.so.1 that lies in the current folder: there is none in this one.
      add_custom_command(OUTPUT ${fatbin}
        COMMAND ${compiler} ${CMAKE_CURRENT_LIST_DIR} ${source} ${op}.fatbin ${flags}
        DEPENDS ${source} ${cuda_headers} ${compiler} ${made_by}
        WORKING_DIRECTORY ${made_in} COMMENT "NVRTC ${op}" VERBATIM)
    endif()
    list(APPEND fatbins ${fatbin})
  endforeach()
  # What an earlier build left must not travel.
  file(GLOB stale ${PROJECT_BINARY_DIR}/${folder}/*/*.fatbin)
  list(REMOVE_ITEM stale ${fatbins})
  foreach(fatbin IN LISTS stale)
    file(REMOVE ${fatbin})
  endforeach()
endforeach()
add_custom_target(laco_fatbins ALL DEPENDS ${fatbins})
