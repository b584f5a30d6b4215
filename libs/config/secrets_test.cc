// No secret of a document is shown: not in a problem, not in a warning, not in the canonical form.
#include <string>
#include <vector>

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "libs/config/canonical.h"
#include "libs/config/document.h"
#include "libs/config/secret_text.h"

namespace dstack::config {
namespace {

// The secret of all documents below.
constexpr const char* kSecret = "hunter2";

bool Holds(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// All that is told about a document, for people and programs.
std::string Told(const CheckedDocument& checked, const std::string& text) {
  std::string told;
  for (const auto* list : {&checked.problems, &checked.warnings}) {
    told += FormatProblems(*list, text) + "\n";
    for (const Problem& problem : *list) {
      told += FormatProblem(problem) + "\n" + problem.value + problem.path + problem.suggestion;
    }
  }
  return told;
}

TEST_CASE("no problem or warning shows a secret") {
  const std::string task = "type: task\ncommands: [x]\n";
  const std::string service = "type: service\nport: 80\nimage: i\n";
  const std::vector<std::string> documents = {
      // Misspelt keys.
      task + "registry_auht: {username: u, password: hunter2}\n",
      task + "registry_auth: {username: u, pasword: hunter2}\n",
      task + "registry_auth:\n  username: u\n  passwd: hunter2\n",
      task + "registry_auth:\n  usernmae: u\n  pass: hunter2\n",
      task + "enviroment: [TOKEN=hunter2]\n",
      task + "envs:\n  A: hunter2\n  B: [hunter2]\n",
      task + "password: hunter2\n",
      task + "HF_TOKEN: hunter2\n",
      task + "HF_TOKEN=hunter2: x\n",
      task + "whatever: hunter2\n",
      "{\"type\": \"task\", \"comands\": [\"x\"], \"foo\": \"hunter2\", \"bar\": 1}\n",
      "{\"type\": \"task\", \"foo\": \"hunter2\", \"comands\": [\"x\"]}\n",
      "projects:\n  - name: main\n    url: http://h\n    tokn: hunter2\n",
      "projects:\n  - {name: main, url: http://h, tokne: hunter2}\n",
      "encryption:\n  keys:\n    - {type: aes, secrte: hunter2}\n",
      // A wrong type.
      task + "registry_auth: hunter2\n",
      task + "registry_auth: [u, hunter2]\n",
      task + "registry_auth: {username: u, password: [hunter2]}\n",
      task + "registry_auth: {username: u, password: {a: hunter2}}\n",
      task + "registry_auth: {username: [u], password: hunter2}\n",
      task + "env: TOKEN=hunter2\n",
      task + "env: [{TOKEN: hunter2}]\n",
      task + "env:\n  - TOKEN: hunter2\n",
      task + "env:\n  A: [hunter2]\n",
      task + "env:\n  A: {b: hunter2}\n",
      "projects: [{name: main, url: http://h, token: [hunter2]}]\n",
      // The list form of variables.
      task + "env: ['1A=hunter2']\n",
      task + "env:\n  - A-B=hunter2\n  - A B=hunter2\n",
      task + "env: [A=1, A=hunter2]\n",
      task + "env:\n  - |\n    A=hunter2\n    hunter2\n",
      // Beside something wrong in the same line.
      task + "env: {A: hunter2}\nports: [80000]\n",
      "{type: task, commands: [x], nodes: 0, env: {A: hunter2}}\n",
      "{type: taks, commands: [x], env: {A: hunter2}}\n",
      "{\"type\": \"taks\", \"registry_auth\": {\"username\": \"u\", \"password\": \"hunter2\"}}\n",
      "{type: volume, backend: azrue, env: {A: hunter2}}\n",
      // Given twice.
      task + "env:\n  A: x\n  A: hunter2\n",
      task + "env:\n  A: hunter2\n  A: x\n",
      "type: taks\nenv:\n  A: hunter2\n  A: hunter2\n",
      task + "registry_auth: {username: u, password: hunter2, password: hunter2}\n",
      // No YAML at all.
      task + "registry_auth:\n  username: u\n  password: hunter2: x\n",
      task + "registry_auth:\n  username: u\n  password: \"hunter2\n",
      task + "registry_auth:\n  password: \"a\n    hunter2\" b\n",
      task + "env:\n  - A: b: hunter2\n",
      task + "env:\n  PHRASE: a\n   hunter2: x\n",
      task + "env:\n  A: [hunter2\n",
      task + "env:\n  A: hunter2\n B: hunter2\n",
      task + "registry_auth:\n  username: u\n  password: !hunter2\n",
      task + "registry_auth:\n  username: u\n  password: !hunter2!x y\n",
      task + "registry_auth:\n  username: u\n  password: *hunter2\n",
      task + "registry_auth:\n  username: u\n  password: &hunter2! x\n",
      task + "registry_auth:\n  username: u\n  password: @hunter2\n",
      task + "registry_auth:\n  username: u\n  password: %hunter2\n",
      task + "registry_auth:\n  username: u\n  password: [hunter2}\n",
      task + "registry_auth:\n  username: u\n  password: hunter2\n\tx: y\n",
      "{\n  \"type\": \"task\",\n  \"env\": {\n    \"A\": \"hunter2\" \"B\": 1\n  }\n}\n",
      task + "HF_TOKEN=hunter2\n",
      task + "env:\nHF_TOKEN=hunter2\n",
      // A private key, where none belongs.
      // NOLINTNEXTLINE(bugprone-suspicious-missing-comma)
      "type: fleet\nssh_config:\n  hosts: [h]\n  user: u\n  identity_file: |\n"
      "    -----BEGIN OPENSSH PRIVATE KEY-----\n    hunter2\n",
      "type: fleet\nssh_config:\n  hosts: [h]\n  user: u\n  identity_file: |\n"
      "  -----BEGIN OPENSSH PRIVATE KEY-----\n  hunter2\n",
      "type: fleet\nssh_config:\n  hosts: [h]\n  user: u\n  private_key: |\n    hunter2\n",
      task + "user: '-----BEGIN RSA PRIVATE KEY----- hunter2: '\n",
      task + "python: ghp_hunter2hunter2hunter2\n",
      task + "name: hf_hunter2hunter2hunter2\n",
      // A password in an address.
      task + "repos: ['https://u:hunter2@h:8443/r']\n",
      task + "repos: [{url: 'https://hunter2@h/r', path: '~u/x'}]\n",
      task + "repos: [{url: 'https://hunter2@h/r', brnch: 'x'}]\n",
      service + "probes: [{type: http, headers: [{nme: Authorization, value: hunter2}]}]\n",
  };
  for (const std::string& text : documents) {
    INFO(text);
    const CheckedDocument checked = CheckDocument(text, "f.yml");
    CHECK((!checked.problems.empty() || !checked.warnings.empty()));
    const std::string told = Told(checked, text);
    INFO(told);
    CHECK_FALSE(Holds(told, kSecret));
  }
}

TEST_CASE("the line of a misspelt key is shown up to the key, or whole where it is harmless") {
  const auto told = [](const std::string& text) {
    return FormatProblems(CheckDocument(text, "f.yml").problems, text);
  };
  CHECK(Holds(told("type: task\ncommands: [x]\nwhatever: 5\n"), "3 | whatever: ...\n"));
  CHECK(Holds(told("type: task\ncomands: [x]\n"), "2 | comands: [x]\n"));
}

TEST_CASE("the canonical form with hidden secrets has none") {
  const std::vector<std::string> documents = {
      "type: task\ncommands: [x]\nenv: [A=hunter2]\n",
      "type: task\ncommands: [x]\nenv: {A: hunter2}\n",
      "type: task\nimage: i\nregistry_auth: {username: u, password: hunter2}\n",
      "type: task\ncommands: [x]\nrepos: [{url: 'https://u:hunter2@h/r'}]\n",
      "type: task\ncommands: ['git clone https://u:hunter2@h/r']\n",
      "type: fleet\nssh_config: {hosts: [h], user: u, identity_file: k}\nenv: [A=hunter2]\n",
      "type: preset\nbase: m\nenv: [A=hunter2]\n",
      // NOLINTNEXTLINE(bugprone-suspicious-missing-comma)
      "type: service\nport: 80\nimage: i\n"
      "probes: [{type: http, headers: [{name: Authorization, value: hunter2}]}]\n",
      "type: template\nname: t\ntitle: t\nconfiguration: {env: {A: hunter2}, x: {pass: hunter2}}\n",
      "type: template\nname: t\ntitle: t\nconfiguration: {}\n"
      "parameters: [{type: env, name: A, value: hunter2}]\n",
      "projects: [{name: main, url: http://h, token: hunter2}]\n",
      "projects: [{name: main, backends: [{type: aws, creds: {type: access_key, access_key: a, "
      "secret_key: hunter2}}]}]\n",
  };
  for (const std::string& text : documents) {
    INFO(text);
    const CheckedDocument checked = CheckDocument(text, "f.yml");
    INFO(Told(checked, text));
    REQUIRE(checked.document.has_value());
    const auto hidden = CanonicalJson(*checked.document, {.hide_secrets = true});
    INFO(hidden.dump());
    CHECK_FALSE(Holds(hidden.dump(), kSecret));
    CHECK_FALSE(Holds(PrintYaml(hidden), kSecret));
    CHECK(Holds(CanonicalJson(*checked.document).dump(), kSecret));
  }
}

TEST_CASE("keys are called like secrets, and texts look like them") {
  for (const char* key : {"HF_TOKEN",
                          "password",
                          "pasword",
                          "apiKey",
                          "AWS_SECRET_ACCESS_KEY",
                          "registry_auth",
                          "env",
                          "passPhrase",
                          "ssh-key",
                          "enviroment"}) {
    INFO(key);
    CHECK(NamesSecret(key));
  }
  for (const char* key :
       {"commands", "image", "key", "auth", "name", "resources", "path", "port"}) {
    INFO(key);
    CHECK_FALSE(NamesSecret(key));
  }
  CHECK(LooksSecret("x ghp_0123456789abcdef"));
  CHECK(LooksSecret("Authorization: Bearer 0123456789abcdef"));
  CHECK_FALSE(LooksSecret("echo basic training https://host/path user@host ssh://git@host/x"));
  CHECK_FALSE(LooksSecret("curl -H 'Authorization: Bearer $TOKEN' http://h"));
  CHECK(ShownKey("A=b") == "A=***");
}

}  // namespace
}  // namespace dstack::config
