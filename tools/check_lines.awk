#!/usr/bin/awk -f
# Is each line of the sources named short enough? 100 columns are the limit.
# usage: awk -f tools/check_lines.awk *.[ch] */*.[ch] t/*/*.[ch]

length($0) > 100 {
    printf "%s:%d: a line of %d columns: break it after at most 100\n", FILENAME, FNR, length($0)
    faults++
}

END { exit faults > 0 }
