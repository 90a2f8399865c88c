#!/usr/bin/awk -f
# Who may include whom: each #include "..." of the sources named is held against the table below.
# usage, in the folder at the top: awk -f tools/check_includes.awk *.[ch] */*.[ch]
# doc/architecture.md says what the folders are for.

BEGIN {
    # A source may include the headers of its own folder and of base/, and these:
    may["base"] = may["wire"] = may["io"] = may["ntlm"] = ""
    may["shared"] = "wire"
    may["target"] = "wire io shared"
    may["firewall"] = "wire"
    may["proxy"] = "wire io target firewall"
    may["endpoint"] = "wire io target"
    may["rpc_channel"] = "wire io target firewall proxy"
    may["httpd"] = "wire io shared target firewall proxy endpoint rpc_channel"
    may["mod_rpcproxy"] = may["httpd"] " httpd"
    may["auth"] = "ntlm"
    may["auth_ntlm"] = "ntlm auth"
    may["delegate"] = ""
    may["rpc_backend_auth"] = "delegate"

    # These stand for themselves.
    apart = "^(bench|fuzz|t|tools)/"
}

# The row of a file: its folder, or at the top its name.
function row(file) { sub(/\/.*|\.[ch]$/, "", file); return file }

function wrong(text) { print file ":" FNR ": " text; failed = 1 }

FNR == 1 {
    file = FILENAME
    sub(/^\.\//, "", file)
    from = row(file)
    if (file !~ apart && !(from in may))
        wrong("tools/check_includes.awk has no row for " from)
}

/^[ \t]*#[ \t]*include[ \t]*"/ && file !~ apart {
    split($0, part, "\"")
    to = row(part[2])
    if (part[2] !~ /\// && !(to in may))
        wrong("\"" part[2] "\" is to be written from the top, as \"" from "/" part[2] "\"")
    else if (to != from && to != "base" && index(" " may[from] " ", " " to " ") == 0)
        wrong(from " may not include \"" part[2] "\"; it may include: base " may[from])
}

END { exit failed }
