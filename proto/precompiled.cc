// Without code: its targets compile the headers that others share (CMakeLists.txt).
