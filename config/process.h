#ifndef RAFTKV_CONFIG_PROCESS_H_
#define RAFTKV_CONFIG_PROCESS_H_

// Included by the file that has main(), in every program of this project. Opens /dev/null as each
// of the descriptors 0, 1 and 2 that is closed; some supervisors start programs that way. Without
// this the next file that the program opens becomes its standard error, and log lines are written
// into it: a file of the data directory, for example.
//
// It runs before main() and before the constructors of shared libraries, because some of those open
// descriptors too (gRPC's does). Without /dev/null the process ends with exit code 2.

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

namespace raftkv {

inline void OpenStandardDescriptors() {
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd) {
    if (fcntl(fd, F_GETFD) != -1 || errno != EBADF) continue;
    // open() returns the lowest free descriptor, which is `fd`: those below it are open by now.
    // Standard input is not opened for reading: who reads it gets an error, and no empty input.
    if (open("/dev/null", O_WRONLY) != fd) _exit(2);
  }
}

// The dynamic linker calls the functions in this section of the program before all others.
__attribute__((section(".preinit_array"),
               used)) static void (*const open_standard_descriptors)() = OpenStandardDescriptors;

}  // namespace raftkv

#endif  // RAFTKV_CONFIG_PROCESS_H_
