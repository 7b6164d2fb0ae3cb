"""Risk classes of command lines that nobody promised to keep simple."""

from __future__ import annotations

import pytest

from runtime.core import Risk
from runtime.tools.shell.risk import classify

READ = r"""
ls -la
find . -type f -iname '*.'pdf -printf '%s\t%p\0' | sort -z -k1,1nr -k2 | head -z -n 5
find . -print0 | xargs -0 -n 5 wc -l
find . -exec sha256sum -z -- {} +
grep -rn foo . 2>/dev/null
wc -l < 'a b'
comm -12 <(sort a) <(sort b)
sed -n 's/^P="\(.*\)"$/\1/p' /etc/os-release
sed -e 2,5p -e '/x/Id' f
awk 'NR == 2 { print $2, $3 }' f
awk '$1 == "a" || $2 == "b"' f
tar tf x.tar
tar --list --file=x.tar
/bin/ls
bash -c 'ls | wc -l'
timeout 5 ls
env LC_ALL=C sort x
LANG=C date -Is
date -d '+3 days'
gzip -cd x.gz
unzip -l x.zip
ip -br addr show
while read -r l; do echo "$l"; done < f
echo hi > /dev/null 2>&1
echo "$(wc -l < f)"
sort -t o f
! grep -q x y
""".strip().splitlines()

WRITE = r"""
echo hi > out.txt
echo hi >> out.txt
ls &> log
cat < a >| b
mkdir -p x && tar xf a.tar -C x
sed -i s/a/b/ x
sed --in-place=.bak s/a/b/ x
sort -ro out f
sort --outp=out f
sort -t -- -o out f
uniq in out
tee out
find . -fprint out
find . -exec touch {} +
cp a b
mv a b
ls | xargs -n1 touch
chmod u+x run.sh
gzip file
awk '{ print $1 > "out" }' f
tar -czf a.tgz d
git status
""".strip().splitlines()

SENSITIVE = r"""
rm x
ls; rm -rf /
ls $(rm x)
ls `rm x`
echo "a $(rm x) b"
cat <(rm x)
echo ${x:-$(rm x)}
f() { rm x; }; f
for i in *; do rm "$i"; done
if true; then rm x; fi
(ls; rm x)
find . -delete
find . -{delete,print}
find . *
find "$dir" -name x
find . -exec rm {} +
find . -execdir sh -c 'ls {}' \;
xargs rm
xargs -I{} bash -c '{}'
bash -c 'ls; rm x'
bash -c "$script"
bash script.sh
sh <<< 'rm x'
env rm x
env PATH=. ls
nice -n 5 rm x
timeout -k 1 5 rm x
/usr/bin/rm x
./ls
$cmd x
{rm,x}
sed 's/a/b/e' x
sed 's/a/b/w out' x
sed -f script x
sed -n '1e rm x' f
awk 'BEGIN { system("rm x") }'
awk '{ print | "sh" }' f
awk -f prog f
tar xf a --to-command=sh
tar -cf a --checkpoint=1 --checkpoint-act=exec=sh d
tar -tf host:file
tar -I sh -xf a
sort --compress-prog=sh f
chmod -R 777 .
chmod 4755 x
chmod o+w x
chown me x
dd if=/dev/zero of=x
curl http://example.com
wget -q x
sudo ls
kill 1
python3 -c 'print(1)'
LD_PRELOAD=./x.so ls
PATH=. ls
eval "ls"
. ./env.sh
echo x > /etc/passwd
echo x > ../outside
cat < /dev/tcp/1.2.3.4/80
printf -v 'a[$(rm x)]' x
read 'a[$(rm x)]'
test -v 'a[$(rm x)]'
date -s tomorrow
date -I -s tomorrow
hostname evil
ip link set eth0 down
git push
no-such-program
echo $'\'' ; rm x #'
echo $((1 + 1))
[[ -f x ]] && ls
case x in a) ls;; esac
ls |
echo 'open
""".strip().splitlines()


@pytest.mark.parametrize(
    ("risk", "line"),
    [("read", line) for line in READ]
    + [("write", line) for line in WRITE]
    + [("sensitive", line) for line in SENSITIVE],
)
def test_risk_of_a_command_line(risk: Risk, line: str) -> None:
    assert classify(line).risk == risk, classify(line)


def test_a_live_here_document_is_sensitive() -> None:
    assert classify("cat <<EOF\nplain\nEOF\n").risk == "read"
    assert classify("cat <<EOF\n$(rm x)\nEOF\n").risk == "sensitive"
    assert classify("sh <<EOF\nls\nEOF\n").risk == "sensitive"


def test_a_second_line_counts() -> None:
    assert classify("ls\nrm x").risk == "sensitive"


def test_reasons_and_programs_are_named() -> None:
    found = classify("ls -l | tee out && rm x")
    assert found.programs == ("ls", "tee", "rm")
    assert found.reasons == ("tee writes files", "rm deletes files")


def test_text_in_quotes_is_no_command() -> None:
    assert classify("echo '$(rm x); rm y' \"; rm z\"").risk == "read"
