# The CUDA kernels, one fatbin per cuda/*.cu, for every architecture that the compiler knows:
#   cuda/13/<op>.fatbin   by nvcc 13, for drivers from 580
#   cuda/12/<op>.fatbin   by NVRTC 12.9 from the same sources, for drivers from 525; or by an nvcc 12
# in the build folder. Where there is no nvcc there are no kernels. CMake's own CUDA language is not used: it needs a
# whole toolkit with a runtime to link, and there is nothing to link here.
set(architectures 80 86 89 90 90a 100 120)
set(fatbins ${CMAKE_BINARY_DIR}/cuda)
file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/*.cu)
file(GLOB headers CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/*.cuh)

execute_process(
  COMMAND bash -c "source \"$PWD/scripts/toolchain.sh\"; find_nvcc && echo \"$nvcc\" || (($? == 1))"
  WORKING_DIRECTORY ${CMAKE_SOURCE_DIR}
  OUTPUT_VARIABLE nvcc OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
if(NOT nvcc)
  message(STATUS "No nvcc: no CUDA kernels; scripts/cuda_toolchain gets one")
  file(REMOVE_RECURSE ${fatbins})
  return()
endif()
cmake_path(NORMAL_PATH nvcc)
execute_process(COMMAND ${nvcc} --version OUTPUT_VARIABLE version COMMAND_ERROR_IS_FATAL ANY)
if(NOT version MATCHES "V(([0-9]+)[0-9.]+)" OR CMAKE_MATCH_2 LESS 12)
  message(FATAL_ERROR "${nvcc} is no nvcc of CUDA 12 or newer; LACO_NVCC names another, LACO_NVCC=none builds without")
endif()
set(version ${CMAKE_MATCH_1})
set(major ${CMAKE_MATCH_2})
message(STATUS "CUDA kernels by nvcc ${version}: ${nvcc}")

# Not compressed: drivers before 550 do not know the compression, and our own checks read the files.
set(flags -std=c++17 -O3 -Werror all-warnings --no-compress)
execute_process(COMMAND ${nvcc} --list-gpu-code OUTPUT_VARIABLE known COMMAND_ERROR_IS_FATAL ANY)
foreach(architecture IN LISTS architectures)
  string(REGEX MATCH "^[0-9]+" base ${architecture})
  if(known MATCHES "sm_${base}\n")
    list(APPEND flags -gencode arch=compute_${architecture},code=sm_${architecture})
  else()
    message(STATUS "This nvcc does not know sm_${architecture}: left out")
  endif()
endforeach()
# For architectures still to come, which a driver compiles itself.
list(APPEND flags -gencode arch=compute_80,code=compute_80)

# Another compiler or another flag makes all of them anew.
file(CONFIGURE OUTPUT ${fatbins}/nvcc.txt CONTENT "${nvcc} ${version} ${flags}\n")
foreach(source IN LISTS sources)
  cmake_path(GET source STEM op)
  set(fatbin ${fatbins}/${major}/${op}.fatbin)
  add_custom_command(OUTPUT ${fatbin}
    COMMAND ${CMAKE_COMMAND} -E make_directory ${fatbins}/${major}
    COMMAND ${nvcc} -fatbin ${flags} -MD -MF ${fatbin}.d -MT ${fatbin} -o ${fatbin} ${source}
    DEPENDS ${source} ${fatbins}/nvcc.txt
    DEPFILE ${fatbin}.d
    COMMENT "nvcc ${op}" VERBATIM)
  list(APPEND outputs ${fatbin})
endforeach()

set(python ${CMAKE_SOURCE_DIR}/target/cuda/bin/python)
set(nvrtc ${CMAKE_SOURCE_DIR}/scripts/nvrtc_fatbin)
if(major GREATER 12 AND EXISTS ${python})
  message(STATUS "CUDA kernels for older drivers by NVRTC 12.9")
  foreach(source IN LISTS sources)
    cmake_path(GET source STEM op)
    set(fatbin ${fatbins}/12/${op}.fatbin)
    # In a folder of its own: NVRTC loads a libcuda.so.1 that lies in the current one.
    add_custom_command(OUTPUT ${fatbin}
      COMMAND ${CMAKE_COMMAND} -E make_directory ${fatbins}/12
      COMMAND ${CMAKE_COMMAND} -E chdir ${fatbins}/12 ${python} ${nvrtc} ${source} ${fatbin} ${architectures}
      DEPENDS ${source} ${headers} ${nvrtc} ${fatbins}/nvcc.txt
      COMMENT "NVRTC ${op}" VERBATIM)
    list(APPEND outputs ${fatbin})
  endforeach()
elseif(major GREATER 12)
  message(STATUS "No NVRTC 12.9: no kernels for drivers before 580; scripts/cuda_toolchain gets it")
endif()

# What an earlier build left must not travel.
file(GLOB stale ${fatbins}/*/*.fatbin)
list(REMOVE_ITEM stale ${outputs})
foreach(fatbin IN LISTS stale)
  file(REMOVE ${fatbin})
endforeach()
add_custom_target(laco_fatbins ALL DEPENDS ${outputs})
