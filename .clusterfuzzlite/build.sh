#!/bin/bash -eu
# ClusterFuzzLite looks for this script here.
"$SRC/linux-aio/fuzz/build-for-service"
