# Completions of aio-probe, aio-copy and aio-bench for fish.
for program in aio-probe aio-copy aio-bench
    complete -c $program -s h -l help -d 'Print a help text'
    complete -c $program -s V -l version -d 'Print the version'
end
complete -c aio-probe -l dir -r -a '(__fish_complete_directories)' -d 'Try writes in a directory'
complete -c aio-probe -l json -d 'Print JSON instead of text'
complete -c aio-copy -l verify -d 'Compare both files afterwards'
complete -c aio-copy -l depth -x -d 'Number of blocks in flight'
complete -c aio-copy -l block -x -a '64KiB 1MiB' -d 'Size of a block'
complete -c aio-bench -l write -d 'Write instead of reading'
complete -c aio-bench -l json -d 'Print JSON instead of a table'
complete -c aio-bench -l block -x -a '4KiB 64KiB' -d 'Size of an operation'
complete -c aio-bench -l size -x -a '256MiB 1GiB' -d 'Size of the file'
complete -c aio-bench -l depth -x -d 'Numbers of operations in flight'
complete -c aio-bench -l seconds -x -d 'Length of a pass'
