#!/usr/bin/env bash
# Lints and renders the Helm chart with both sets of values, and sees that the schema refuses wrong ones.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
chart=$root/charts/dstack
# helm built from source does not know a Kubernetes version of its own.
readonly kubernetes=1.29.0

"$root/tests/tools/install.sh" helm || { status=$?; [ $status -ne 3 ] || echo "SKIPPED: go is needed to build helm"; exit $status; }
helm=$root/build/tools/bin/helm

render() { "$helm" template dstack "$chart" --kube-version "$kubernetes" "$@"; }

for values in minimal full; do
  "$helm" lint "$chart" --kube-version "$kubernetes" --strict --quiet -f "$chart/ci/$values-values.yaml"
  rendered=$(render -f "$chart/ci/$values-values.yaml")
  for kind in Deployment Service Job ServiceAccount PodDisruptionBudget; do
    grep -q "^kind: $kind\$" <<<"$rendered" || { echo "$values: no $kind is rendered" >&2; exit 1; }
  done
done
grep -q '^kind: HorizontalPodAutoscaler$' <<<"$rendered" && grep -q '^kind: ServiceMonitor$' <<<"$rendered" ||
  { echo "full: no HorizontalPodAutoscaler or no ServiceMonitor" >&2; exit 1; }

# set_refused NAME ARGUMENT...: these values must not render.
set_refused() {
  if render "${@:2}" >/dev/null 2>&1; then
    echo "the schema accepts $1" >&2
    exit 1
  fi
}
set_refused "a chart without database" --set secrets.existingSecret=x
set_refused "no replicas" -f "$chart/ci/minimal-values.yaml" --set replicaCount=0
set_refused "an unknown key" -f "$chart/ci/minimal-values.yaml" --set replicas=2
set_refused "an unknown log level" -f "$chart/ci/minimal-values.yaml" --set server.logLevel=loud
echo "the chart renders with both sets of values"
