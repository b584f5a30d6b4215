# ccache and mold, when they are there. CCACHE_BASEDIR and NOHASHDIR let different build directories
# of one tree share their results.
find_program(DSTACK_CCACHE ccache)
if(DSTACK_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER
    env CCACHE_BASEDIR=${CMAKE_SOURCE_DIR} CCACHE_NOHASHDIR=1
    CCACHE_SLOPPINESS=time_macros,include_file_mtime,include_file_ctime ${DSTACK_CCACHE})
  set(CMAKE_C_COMPILER_LAUNCHER ${CMAKE_CXX_COMPILER_LAUNCHER})
endif()

find_program(DSTACK_MOLD mold)
if(DSTACK_MOLD)
  add_link_options(-fuse-ld=mold)
endif()
