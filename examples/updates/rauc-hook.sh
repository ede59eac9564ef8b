#!/bin/sh
# The hook of a RAUC bundle whose image is a packed bundle of cxr-edge, for a slot of the class `model`.
set -e
[ "$1" = slot-install ]
cxr-edge install "$RAUC_IMAGE_NAME" --into /var/lib/cxr-edge --require-signature /etc/cxr-edge/owner.pub
systemctl restart cxr-watch
