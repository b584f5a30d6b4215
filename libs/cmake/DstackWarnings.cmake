# dstack_warnings: linked privately by every target of ours, never by generated code.
add_library(dstack_warnings INTERFACE)
target_compile_options(dstack_warnings INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wnon-virtual-dtor -Woverloaded-virtual
  # Designated initialisers leave fields out on purpose.
  -Wno-missing-field-initializers
  $<$<BOOL:${DSTACK_WERROR}>:-Werror>)
if(DSTACK_THREAD_SAFETY)
  target_compile_options(dstack_warnings INTERFACE -Wthread-safety -Werror=thread-safety)
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # g++ 12 reports false positives inside std::string and std::optional at -O2.
  target_compile_options(dstack_warnings INTERFACE
    -Wno-restrict -Wno-maybe-uninitialized -Wno-dangling-pointer)
endif()
