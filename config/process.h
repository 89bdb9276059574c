#ifndef RAFTKV_CONFIG_PROCESS_H_
#define RAFTKV_CONFIG_PROCESS_H_

// What every program of this project does first in main().

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

namespace raftkv {

// Opens /dev/null as each of the descriptors 0, 1 and 2 that is closed. Some supervisors start
// programs that way. Without this the next file that the program opens becomes its standard error,
// and log lines are written into it, a file of the data directory for example.
//
// Call it before anything opens a file or a socket, and before a thread starts. Without /dev/null
// the process ends (exit code 2): it could not even say why.
inline void OpenStandardDescriptors() {
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd) {
    if (fcntl(fd, F_GETFD) != -1 || errno != EBADF) continue;
    // open() returns the lowest free descriptor, which is `fd`: those below it are open by now.
    if (open("/dev/null", fd == STDIN_FILENO ? O_RDONLY : O_WRONLY) != fd) _exit(2);
  }
}

}  // namespace raftkv

#endif  // RAFTKV_CONFIG_PROCESS_H_
