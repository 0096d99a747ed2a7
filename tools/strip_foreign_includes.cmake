# The ROS wheels' exported CMake targets name include directories of the machine that built them
# (/opt/python/...). CMake refuses targets with missing include directories, so drop those that do
# not exist. Given as CMAKE_PROJECT_INCLUDE; runs when all packages have been found. Needed with the
# wheels only: an apt installation of ROS builds without it.
function(dp_strip_foreign_includes)
  get_property(imported_targets DIRECTORY PROPERTY IMPORTED_TARGETS)
  foreach(target IN LISTS imported_targets)
    get_target_property(directories ${target} INTERFACE_INCLUDE_DIRECTORIES)
    if(NOT directories)
      continue()
    endif()
    set(kept "")
    foreach(directory IN LISTS directories)
      if(directory MATCHES "^\\$<" OR EXISTS "${directory}")
        list(APPEND kept "${directory}")
      endif()
    endforeach()
    set_target_properties(${target} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${kept}")
  endforeach()
endfunction()
cmake_language(DEFER CALL dp_strip_foreign_includes)
