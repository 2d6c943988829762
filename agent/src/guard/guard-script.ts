/**
 * What the guard runs, in bash 4.4 or later. It starts no program and no second process, so that it works when the
 * machine cannot start one any more: everything is a builtin, and everything it knows comes from /proc.
 *
 * Arguments: the mark in the environment of the workload, the process id of the agent, and the control group of the
 * agent's own systemd service or nothing. On its input come `until <boot time in 10 ms>;`, `solo;`, `idle;`, `bye;`, a line
 * each: the semicolon tells a line that is whole from one whose rest is still to come, when the time of a `read` is up. On its
 * output go `ready`, `unfit <why>`, `killed <processes> left <those still there> at <boot time>`.
 *
 * Who belongs to the workload is the rule of role/process-tree.ts.
 */
export const GUARD_SCRIPT = `
mark=$1 agent=$2 service=$3
# Its end is the end of its input. A terminal, or a service manager, may signal everything around the agent at once.
trap '' HUP INT QUIT TERM PIPE USR1 USR2
# The last to go when memory runs out.
{ echo -1000 >/proc/$$/oom_score_adj; } 2>/dev/null
# Where the kernel shares processors among sessions, its priority counts in its own session only.
{ echo -10 >/proc/$$/autogroup; } 2>/dev/null

state=idle deadline=0 rest= late=
now=0 found=()

clock() {
  local up _
  # A clock that cannot be read is one that has run out.
  read -r up _ </proc/uptime || up=999999999.00
  now=$((10#\${up/./}))
}

carries_mark() {
  local all one IFS=$'\\n'
  mapfile -d '' -t all <"$1"
  # Most do not have the variable at all, and to see that is much faster than to compare each.
  [[ $IFS\${all[*]} == *$'\\n'"\${mark%%=*}="* ]] || return 1
  for one in "\${all[@]}"; do [[ $one == "$mark" ]] && return 0; done
  return 1
}

# Whether a process of the service is one that the agent or the guard has started for itself.
is_helper() {
  local at=$1 steps
  for ((steps = 0; steps < 100 && at > 1; steps++)); do
    ((parent[$at] == agent || parent[$at] == $$)) && return 0
    at=\${parent[$at]:-0}
  done
  return 1
}

# Puts into found what of the workload is there now. What carries the mark is stopped as soon as it is seen.
look() {
  local path pid line child lines queue=()
  local -A parent=() children=() ours=()
  for path in /proc/[0-9]*; do
    pid=\${path#/proc/} lines=()
    mapfile -d '' -t lines <"$path/stat"
    # State, parent and more follow the last bracket, because the name of a program may have anything in it. To look
    # for the first one is much faster.
    line=\${lines[0]#*) }
    [[ $line == *\\)* ]] && line=\${line##*) }
    [[ -z $line || $line == [ZX]* ]] && continue
    line=\${line:2}
    parent[$pid]=\${line%% *}
    children[\${line%% *}]+=" $pid"
    ((pid == agent || pid == $$)) && continue
    carries_mark "$path/environ" && queue+=("$pid") && kill -s STOP "$pid"
  done 2>/dev/null
  while ((\${#queue[@]})); do
    pid=\${queue[-1]}
    unset 'queue[-1]'
    ((pid == agent || pid == $$)) && continue
    [[ \${ours[$pid]} ]] && continue
    ours[$pid]=1
    for child in \${children[$pid]}; do queue+=("$child"); done
  done
  if [[ $service ]]; then
    for pid in "\${!parent[@]}"; do
      ((pid == agent || pid == $$)) && continue
      [[ \${ours[$pid]} ]] && continue
      lines=()
      mapfile -t lines <"/proc/$pid/cgroup"
      for line in "\${lines[@]}"; do
        [[ $line == "0::$service" ]] && ! is_helper "$pid" && ours[$pid]=1
      done
    done 2>/dev/null
  fi
  found=("\${!ours[@]}")
}

# Stops whatever it finds until it finds nothing new, so that nothing gets away by starting another; then kills.
end_workload() {
  local -A seen=()
  local pid new rounds=0 limit
  clock
  limit=$((now + 200))
  look
  while ((\${#found[@]})); do
    new=
    for pid in "\${found[@]}"; do
      [[ \${seen[$pid]} ]] || new=1
      seen[$pid]=1
    done
    if [[ $new ]] && ((rounds++ < 5)); then
      kill -s STOP "\${found[@]}"
    else
      kill -s KILL "\${found[@]}"
      clock
      if ((now >= limit)); then
        # The last may have ended of this.
        look
        break
      fi
    fi
    look
  done 2>/dev/null
  clock
  ((\${#seen[@]})) && echo killed \${#seen[@]} left \${#found[@]} at $now 2>/dev/null
}

follow() {
  local said=\${1%;}
  rest= late=1
  case $said in
    solo | idle) state=$said ;;
    bye) exit 0 ;;
    'until '*) [[ \${said#until } =~ ^[0-9]{1,15}$ ]] && state=until deadline=$((10#\${said#until })) ;;
  esac
}

# What is read as the environment of a process, of this one for a trial.
mark_wanted=$mark mark=LC_ALL=C
carries_mark /proc/$$/environ || { echo unfit /proc cannot be read, or bash is older than 4.4; exit 3; }
mark=$mark_wanted
echo ready

while :; do
  pause=()
  if [[ $state == until ]]; then
    clock
    left=$((deadline - now))
    ((left > 0)) && late=
    if ((left > 11)); then
      # A timer stands still while the machine is suspended, this clock does not.
      pause=(-t 0.1)
    elif ((left > 1)); then
      printf -v pause -- '-t0.%02d' $((left - 1))
    elif ((left > 0)); then
      pause=(-t 0.002)
    elif ! read -r -t 0; then
      if [[ $late ]]; then
        # It had run out when it was read, as after a standstill: the agent may only now have room for what is newer.
        late=
        pause=(-t 0.05)
      else
        # Nothing newer has been said. What comes back later is ended as well.
        end_workload
        pause=(-t 0.5)
      fi
    fi
  fi
  if IFS= read -r "\${pause[@]}" line; then
    follow "$rest$line"
  elif (($? > 128)); then
    rest+=$line
    # The last that it read before a standstill may have been the end of a line.
    [[ $rest == *\\; ]] && follow "$rest"
  else
    # The agent has ended, and has not said goodbye.
    [[ $state == idle ]] || end_workload
    exit 0
  fi
done
`
