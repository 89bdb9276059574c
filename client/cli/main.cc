#include <unistd.h>

#include <iostream>

#include "client/cli/cli.h"
#include "config/process.h"

int main(int argc, char** argv) {
  std::ios::sync_with_stdio(false);
  // Threads of watches write to standard output. So no other stream may flush it meanwhile.
  std::cin.tie(nullptr);
  std::cerr.tie(nullptr);
  return raftkv::client::RunCli(argc, argv,
                                {.in = std::cin,
                                 .out = std::cout,
                                 .err = std::cerr,
                                 .in_is_terminal = isatty(STDIN_FILENO) == 1,
                                 .out_is_terminal = isatty(STDOUT_FILENO) == 1,
                                 .err_is_terminal = isatty(STDERR_FILENO) == 1});
}
