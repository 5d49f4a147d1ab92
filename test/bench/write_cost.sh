#!/bin/bash
# What counting costs: see write_cost.pl.
exec perl "$(dirname "$0")/write_cost.pl"
