// Texts about repositories that come from elsewhere: addresses, what git says, keys.
#include <string>

#include "libs/base/git_url.h"
#include "services/runner/repo/git.h"
#include "services/runner/sshd/host_key.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const dstack::fuzz::Measured measured;
  const std::string_view text = dstack::fuzz::Text(data, size);
  const auto url = dstack::base::ParseGitUrl(text);
  if (url.ok()) {
    // The normal form is an address too, and the same one.
    const auto again = dstack::base::ParseGitUrl(url->ToString());
    FUZZ_CHECK(again.ok());
    FUZZ_CHECK(again->ToString() == url->ToString());
    FUZZ_CHECK(GitRepoId(*again) == GitRepoId(*url));
    // Nothing in it is an option of git or ssh, nor a second line of git's configuration.
    FUZZ_CHECK(!url->host.starts_with('-') && !url->user.starts_with('-'));
    FUZZ_CHECK(url->ToString().find_first_of("\n\r ") == std::string::npos);
    const std::string config = dstack::runner::RenderGitConfig(*url, "/c", "token");
    FUZZ_CHECK(config.find("allow = never") != std::string::npos);
  }
  for (const char* command : {"fetch", "apply"}) {
    FUZZ_CHECK(!dstack::runner::DescribeGitFailure(command, text).empty());
  }
  dstack::runner::PublicHalf(text).IgnoreError();
  return 0;
}
