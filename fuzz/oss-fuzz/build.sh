#!/bin/bash -eu
# OSS-Fuzz looks for this script here. The one in the checkout fits the checkout.
"$SRC/linux-aio/fuzz/build-for-service"
