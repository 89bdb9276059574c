// Settings of jemalloc, which reads this variable when the process starts. Memory that is not used
// goes back to the system within ten seconds, also while the process is idle: a thread of jemalloc
// returns it.
extern "C" const char* malloc_conf;
const char* malloc_conf = "background_thread:true,dirty_decay_ms:10000,muzzy_decay_ms:0";
