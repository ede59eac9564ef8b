#!/bin/sh
# A Mender update module: it installs the packed bundle that a Mender artifact carries.
# On the device as /usr/share/mender/modules/v3/cxr-edge.
set -e
into=/var/lib/cxr-edge
key=/etc/cxr-edge/owner.pub
before=$2/tmp/installed-before.json

# The name of the active bundle in a copy of installed.json.
active() { sed -n 's/.*"active": *"\([^"]*\)".*/\1/p' "$1"; }

case "$1" in
  ArtifactInstall)
    if [ -e "$into/installed.json" ]; then cp "$into/installed.json" "$before"; fi
    cxr-edge install "$2"/files/*.zip --into "$into" --require-signature "$key"
    systemctl restart cxr-watch
    ;;
  SupportsRollback)
    echo Yes
    ;;
  ArtifactRollback)
    # Mender also calls it after a failed installation, and again after a power cut: then the earlier model is
    # active, and another rollback would leave it. For the first model there is nothing to roll back to.
    if [ -e "$before" ]; then
      if [ "$(active "$before")" != "$(active "$into/installed.json")" ]; then
        cxr-edge rollback "$into" --require-signature "$key"
      fi
      systemctl restart cxr-watch
    fi
    ;;
esac
