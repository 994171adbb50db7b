# The section KEYS of mainstay.toml(5), in scdoc, out of etc/mainstay/mainstay.toml: its comments are
# the reference, so that there is only one. A comment belongs to the keys or the table below it.

function plain(text) {
    gsub(/[\\*_#`+|<~]/, "\\\\&", text)
    gsub(/\[/, "\\[", text)
    gsub(/\]/, "\\]", text)
    return text
}

# Keys that follow each other share the text above the first one.
function flush_keys() {
    if (keys == "") return
    printf "%s\n", keys
    if (about != "") printf "\t%s\n", plain(about)
    printf "\n"
    keys = about = ""
}

function flush_text() {
    if (text != "") printf "%s\n\n", plain(text)
    text = ""
}

BEGIN {
    value = "(\"[^\"]*\"|[0-9.]+|true|false|\\[.*\\]|\\{.*\\})"
    key = "^#? ?[A-Za-z][A-Za-z0-9_-]* = " value "$"
    header = "^#? ?\\[+[a-z_.]+\\]+$"
}

# Its head says what is said in the page already.
!begun { if ($0 == "") begun = 1; next }

$0 ~ header {
    flush_keys()
    sub(/^#? ?/, "")
    printf "## %s\n\n", $0
    flush_text()
    next
}
$0 ~ key {
    sub(/^#? ?/, "")
    name = substr($0, 1, index($0, " ") - 1)
    rest = substr($0, index($0, " ") + 1)
    if (keys == "") { about = text; text = "" }
    keys = keys (keys == "" ? "" : "++\n") "*" plain(name) "* " plain(rest)
    next
}
/^# / {
    flush_keys()
    text = text (text == "" ? "" : " ") substr($0, 3)
    next
}
# A line that is empty, also within a comment, ends what is said.
/^#?$/ { flush_keys(); flush_text(); next }
{ print FILENAME ":" NR ": neither table, key nor comment: " $0 > "/dev/stderr"; bad = 1; exit 1 }
END { if (!bad) { flush_keys(); flush_text() } }
