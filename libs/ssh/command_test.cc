#include "libs/ssh/command.h"

#include <absl/strings/str_join.h>
#include <catch2/catch.hpp>

#include "libs/base/status.h"

namespace dstack::ssh {
namespace {

ConnectionSpec Direct() {
  ConnectionSpec spec;
  spec.host.hostname = "gpu-1.example.com";
  spec.host.port = 2222;
  spec.host.user = "ubuntu";
  spec.host.identity_files = {"/r/1/key0", "/r/1/key1"};
  spec.host.known_hosts_file = "/r/1/known_hosts";
  spec.host.host_key_alias = "host";
  spec.host.is_key_pinned = true;
  spec.control_path = "/r/1/ctl";
  return spec;
}

Hop Jump() {
  Hop hop;
  hop.hostname = "login";
  hop.user = "me";
  hop.identity_files = {"/r/1/jump key"};
  hop.known_hosts_file = "/r/1/known_hosts";
  hop.host_key_alias = "jump";
  return hop;
}

std::string Line(const std::vector<std::string>& argv) { return absl::StrJoin(argv, "|"); }

TEST_CASE("T1 master: direct, pinned key") {
  CHECK(Line(MasterCommand(Direct(), {"sh", "-c", "echo up; exec cat"})) ==
        "ssh|-F|none|-T|-S|/r/1/ctl|-o|ControlMaster=yes|-o|ControlPersist=no"
        "|-i|/r/1/key0|-i|/r/1/key1|-o|IdentitiesOnly=yes|-o|IdentityAgent=none|-o|BatchMode=yes"
        "|-o|PreferredAuthentications=publickey|-o|StrictHostKeyChecking=yes"
        "|-o|UserKnownHostsFile=/r/1/known_hosts|-o|GlobalKnownHostsFile=/dev/null"
        "|-o|HostKeyAlias=host|-o|HashKnownHosts=no|-o|UpdateHostKeys=no|-o|ConnectTimeout=10"
        "|-o|ServerAliveInterval=5|-o|ServerAliveCountMax=3|-o|ExitOnForwardFailure=yes"
        "|-o|StreamLocalBindUnlink=yes|-p|2222|-l|ubuntu|--|gpu-1.example.com"
        "|sh -c 'echo up; exec cat'");
}

TEST_CASE("T1 master: first contact records the key") {
  ConnectionSpec spec = Direct();
  spec.host.is_key_pinned = false;
  CHECK_THAT(Line(MasterCommand(spec, {"cat"})),
             Catch::Contains("StrictHostKeyChecking=accept-new"));
}

TEST_CASE("T1 master: IPv6 without brackets") {
  ConnectionSpec spec = Direct();
  spec.host.hostname = "[2001:db8::1]";
  CHECK_THAT(Line(MasterCommand(spec, {"cat"})), Catch::EndsWith("|--|2001:db8::1|cat"));
}

TEST_CASE("T1 master: a jump host is a proxy command with its own identity and known hosts") {
  ConnectionSpec spec = Direct();
  spec.jump = Jump();
  spec.jump->user = "odd%user";
  CHECK_THAT(Line(MasterCommand(spec, {"cat"})),
             Catch::Contains(
                 "|-o|ProxyCommand=ssh -F none -i '/r/1/jump key' -o IdentitiesOnly=yes "
                 "-o IdentityAgent=none -o BatchMode=yes -o PreferredAuthentications=publickey "
                 "-o StrictHostKeyChecking=accept-new -o UserKnownHostsFile=/r/1/known_hosts "
                 "-o GlobalKnownHostsFile=/dev/null -o HostKeyAlias=jump -o HashKnownHosts=no "
                 "-o UpdateHostKeys=no -o ConnectTimeout=10 -o ServerAliveInterval=5 "
                 "-o ServerAliveCountMax=3 -W '[%h]:%p' -p 22 -l 'odd%%user' -- login|-p|2222"));
}

TEST_CASE("T2 control commands never connect by themselves") {
  CHECK(Line(ForwardCommand("/r/1/ctl", "/r/1/f1", "/home/u/.dstack/shim.sock")) ==
        "ssh|-F|none|-S|/r/1/ctl|-o|ControlMaster=no|-o|BatchMode=yes|-o|ProxyCommand=false"
        "|-O|forward|-L|/r/1/f1:/home/u/.dstack/shim.sock|--|dstack");
  CHECK(Line(CancelForwardCommand("/r/1/ctl", "/r/1/f1", "/x")) ==
        "ssh|-F|none|-S|/r/1/ctl|-o|ControlMaster=no|-o|BatchMode=yes|-o|ProxyCommand=false"
        "|-O|cancel|-L|/r/1/f1:/x|--|dstack");
  CHECK(Line(ExecCommand("/r/1/ctl", {"uname", "-s m"})) ==
        "ssh|-F|none|-S|/r/1/ctl|-o|ControlMaster=no|-o|BatchMode=yes|-o|ProxyCommand=false"
        "|-T|--|dstack|uname '-s m'");
  CHECK(Line(ExitCommand("/r/1/ctl")) ==
        "ssh|-F|none|-S|/r/1/ctl|-o|ControlMaster=no|-o|BatchMode=yes|-o|ProxyCommand=false"
        "|-O|exit|--|dstack");
}

TEST_CASE("hosts and users that ssh would misread are refused by name") {
  struct Case {
    std::string name;
    std::string hostname;
    std::string user;
    std::string field;
  };
  const std::vector<Case> cases = {
      {"empty host", "", "u", "hostname"},
      {"option as host", "-oProxyCommand=x", "u", "hostname"},
      {"newline in host", "a\nb", "u", "hostname"},
      {"blank in user", "h", "a b", "user"},
      {"option as user", "h", "-l", "user"},
  };
  for (const Case& c : cases) {
    INFO(c.name);
    ConnectionSpec spec = Direct();
    spec.host.hostname = c.hostname;
    spec.host.user = c.user;
    const absl::Status status = Validate(spec);
    REQUIRE(base::FieldViolations(status).size() == 1);
    CHECK(base::FieldViolations(status)[0].field == c.field);
  }
  CHECK(Validate(Direct()).ok());
  ConnectionSpec spec = Direct();
  spec.jump = Jump();
  spec.jump->hostname = "-x";
  CHECK(base::FieldViolations(Validate(spec))[0].field == "proxy_jump.hostname");
}

}  // namespace
}  // namespace dstack::ssh
