#!/bin/bash
# Makes the archives of this folder again, with GNU tar 1.34, Info-ZIP 3.0, zstd 1.5 and bzip2: one tree in every dialect.
# Usage: make.sh FOLDER (a new one)
set -euo pipefail
out=$(realpath -m "$1"); mkdir -p "$out"; cd "$(mktemp -d)"
export TZ=UTC LC_ALL=C.UTF-8

long=$(printf 'directory-with-a-long-name-%.0s' 1 2)
mkdir -p tree/bin tree/lib tree/empty tree/data "tree/$long/$long/$long"
printf '#!/bin/sh\necho run\n' > tree/bin/run
chmod 755 tree/bin/run
ln tree/bin/run tree/bin/run-again
ln tree/bin/run tree/lib/run-elsewhere
ln tree/bin/run tree/lib/run-there
ln -s ../bin/run tree/lib/latest
printf 'unusual\n' > 'tree/data/größe'
: > tree/data/nothing
printf 'deep\n' > "tree/$long/$long/$long/file"
ln -s "$long/$long/$long/file" tree/deep
truncate -s 2M tree/data/sparse; printf 'middle' | dd of=tree/data/sparse bs=1 seek=1000000 conv=notrunc status=none
printf 'end\n' >> tree/data/sparse
chmod 750 tree/empty
find tree -exec touch -h -d '2024-02-03 04:05:06.123456789 UTC' {} +

tar="tar --sort=name --owner=0 --group=0 --numeric-owner"
$tar --format=gnu -cf gnu.tar tree
$tar --format=gnu -S -cf gnu-sparse.tar tree
$tar --format=oldgnu -S -cf oldgnu-sparse.tar tree
$tar --format=posix -cf posix.tar tree
for version in 0.0 0.1 1.0; do $tar --format=posix -S --sparse-version=$version -cf posix-sparse-$version.tar tree; done
$tar --format=gnu --label=backup -g snapshot -cf gnu-incremental.tar tree
$tar --format=ustar --exclude="tree/deep" -cf ustar.tar tree
$tar --format=v7 --exclude="tree/$long" --exclude=tree/deep -cf v7.tar tree
(cd tree && $tar --format=gnu -cf ../dot.tar .)
for name in *.tar; do gzip -9n < "$name" > "$out/$name.gz"; done

half=$(($(stat -c %s gnu.tar) / 2))
for pack in "gzip -9n:gz" "bzip2 -9:bz2" "xz -9:xz" "zstd -q -19 --check:zst"; do
  { head -c $half gnu.tar | ${pack%:*}; tail -c +$((half + 1)) gnu.tar | ${pack%:*}; } > "$out/two-streams.tar.${pack##*:}"
done
(cd tree && zip -qry "$out/info.zip" .)
(cd tree && find . -type f | sort | zip -q -fd "$out/info-descriptors.zip" -@)
