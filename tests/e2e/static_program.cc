// The only program of an image that has nothing else: prints its environment's NAME and its
// arguments, and ends with the status that the first one names.
#include <cstdio>
#include <cstdlib>

int main(int argc, char** argv) {
  std::printf("hello from nothing\n");
  for (int i = 1; i < argc; ++i) std::printf("%s\n", argv[i]);
  return argc > 1 ? std::atoi(argv[1]) : 0;
}
