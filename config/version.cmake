# Writes OUTPUT, the source of version.h, at every build. It is only changed if its text changes, so
# that a build without a new commit compiles nothing.
# Usage: cmake -DSOURCE=DIR -DVERSION=X.Y.Z -DOUTPUT=FILE -P version.cmake
execute_process(
  COMMAND git -C ${SOURCE} describe --always --dirty --abbrev=12 "--exclude=*"
  OUTPUT_VARIABLE commit OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
if(failed OR NOT EXISTS ${SOURCE}/.git)  # the sources may be a part of another repository
  set(commit "")
endif()
set(text "#include \"config/version.h\"

namespace raftkv {

const char kVersion[] = \"${VERSION}\";
const char kCommit[] = \"${commit}\";

std::string VersionText() {
  const std::string commit = kCommit;
  return kVersion + (commit.empty() ? \"\" : \" (commit \" + commit + \")\");
}

std::string VersionLines(const std::string& program) {
  return program + \" version: \" + VersionText() + \"\\nAPI version: 3.7\";
}

}  // namespace raftkv
")
set(before "")
if(EXISTS ${OUTPUT})
  file(READ ${OUTPUT} before)
endif()
if(NOT text STREQUAL before)
  file(WRITE ${OUTPUT} "${text}")
endif()
