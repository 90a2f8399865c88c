#!/bin/bash
# usage: manual_html.sh FOLDER. The manual, doc/*.md, as HTML with one stylesheet.
set -euo pipefail
cd "$(dirname "$0")/.."
to=$1
command -v pandoc > /dev/null || { echo "make doc needs pandoc: apt-get install pandoc" >&2; exit 1; }
mkdir -p "$to"
cp doc/manual.css doc/*.png "$to"
for page in doc/*.md; do
    name=$(basename "$page" .md)
    title=$(sed -n '1s/^# //p' "$page")
    pandoc -f gfm -t html5 -s --css manual.css --metadata pagetitle="$title" --metadata lang=en "$page" \
        | sed -E 's/(href="[a-z_-]+)\.md(["#])/\1.html\2/g' > "$to/$name.html"
done
echo "$to/index.html"
