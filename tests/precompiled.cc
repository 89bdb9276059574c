// Without code: its target compiles the headers that tests share (CMakeLists.txt).
