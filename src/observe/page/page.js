"use strict";
// Everything that the program supplies becomes a text node: nothing here parses HTML.

// Small things.

const $ = (selector, within = document) => within.querySelector(selector);

function element(tag, attributes = {}, ...children) {
  const made = tag.startsWith("svg:")
    ? document.createElementNS("http://www.w3.org/2000/svg", tag.slice(4))
    : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value != null) made.setAttribute(name, value);
  }
  made.append(...children.flat().filter(child => child != null && child !== false));
  return made;
}

const number = new Intl.NumberFormat("en-US");
const count = value => number.format(value);
const plural = (value, what) => `${count(value)} ${what}${value === 1 ? "" : "s"}`;
const sum = (items, of) => items.reduce((total, item) => total + of(item), 0);

function duration(ms) {
  if (ms < 0.0995) return `${(ms * 1000).toFixed(0)} µs`;
  if (ms < 9.95) return `${ms.toFixed(1)} ms`;
  if (ms < 999.5) return `${ms.toFixed(0)} ms`;
  if (ms < 59950) return `${(ms / 1000).toFixed(1)} s`;
  const minutes = Math.floor(ms / 60000);
  if (minutes < 60) return `${minutes} min ${Math.floor(ms / 1000) % 60} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

// The last parts of a path say enough; the title has all of it.
function place(at) {
  const parts = at.file.split("/");
  const short = parts.length > 4 ? `…/${parts.slice(-3).join("/")}` : at.file;
  return { short: `${short}:${at.line}`, full: `${at.file}:${at.line}` };
}
const placeNode = at => element("span", { class: "code", title: place(at).full }, place(at).short);

const label = coroutine => `#${coroutine.id}${coroutine.name ? ` “${coroutine.name}”` : ""}`;

// Changes a text only if it differs, so that a selection in it survives.
function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// Makes the children of `parent` those for `items`. A child that was there before for the same key is kept,
// with its focus and whether it is open. While the focus is among them, none of them is moved.
function reconcile(parent, items, key, make, update) {
  const before = new Map();
  for (const child of parent.children) before.set(child.key, child);
  const wanted = [];
  const times = new Map();
  for (const item of items) {
    // Keys need not differ: runtimes may have the same name.
    const plain = key(item);
    const time = times.get(plain) || 0;
    times.set(plain, time + 1);
    const its = time ? `${plain}\u0000${time}` : plain;
    let child = before.get(its);
    if (child) before.delete(its);
    else {
      child = make(item);
      child.key = its;
    }
    update(child, item);
    wanted.push(child);
  }
  for (const child of before.values()) child.remove();
  if (parent.contains(document.activeElement)) {
    for (const child of wanted) if (child.parentNode !== parent) parent.append(child);
    return;
  }
  let next = parent.firstChild;
  for (const child of wanted) {
    if (child === next) next = next.nextSibling;
    else parent.insertBefore(child, next);
  }
}

// A full dump as a summary.

function summarize(dump) {
  if (dump.calls) return dump;
  const known = new Map();
  for (const runtime of dump.runtimes) for (const one of runtime.coroutines) known.set(one.id, one);
  const tally = (map, key, start) => {
    if (!map.has(key)) map.set(key, start());
    return map.get(key);
  };
  const most = (a, b) => b.count - a.count;
  const calls = new Map(), sites = new Map();
  const runtimes = dump.runtimes.map(runtime => {
    const groups = new Map(), states = { running: 0, runnable: 0, parked: 0 };
    for (const one of runtime.coroutines) {
      const call = one.wait ? one.wait.call : null, at = one.spawned_at;
      states[one.state] += 1;
      tally(sites, `${at.file}:${at.line}:${at.column}`, () => ({ ...at, count: 0 })).count += 1;
      if (one.wait) {
        const its = tally(calls, call, () => ({ call, count: 0, longest_ms: 0 }));
        its.count += 1;
        its.longest_ms = Math.max(its.longest_ms, one.wait.lasts_ms);
      }
      const key = [one.state, call, at.file, at.line, at.column, one.cancelled, one.stack].join("|");
      const group = tally(groups, key, () => ({
        count: 0, state: one.state, cancelled: one.cancelled, spawned_at: at, call,
        lasts_ms: one.wait ? { least: Infinity, most: 0 } : null,
        subjects: new Map(), members: [], stack: one.stack,
      }));
      group.count += 1;
      if (group.members.length < 8) group.members.push({ id: one.id, name: one.name });
      if (one.wait) {
        group.lasts_ms.least = Math.min(group.lasts_ms.least, one.wait.lasts_ms);
        group.lasts_ms.most = Math.max(group.lasts_ms.most, one.wait.lasts_ms);
        const subject = one.wait.subject && describe(one.wait.subject, known);
        if (subject) tally(group.subjects, subject, () => ({ subject, count: 0 })).count += 1;
      }
    }
    const sorted = [...groups.values()].sort(most);
    for (const group of sorted) {
      const subjects = [...group.subjects.values()].sort(most);
      group.waits_for = subjects.slice(0, 4);
      group.more_subjects = Math.max(0, subjects.length - 4);
    }
    const shown = sorted.slice(0, 100), more = sorted.slice(100);
    const workers = runtime.workers.map(worker => {
      const runs = worker.coroutine == null ? null : known.get(worker.coroutine);
      return { ...worker, runs: runs || null };
    });
    return {
      ...runtime, ...states, workers, groups: shown,
      more_groups: more.length, in_more_groups: sum(more, group => group.count),
    };
  });
  const allSites = [...sites.values()].sort(most);
  return {
    ...dump, runtimes, calls: [...calls.values()].sort(most), sites: allSites.slice(0, 100),
    more_sites: Math.max(0, allSites.length - 100), threads: dump.threads.slice(0, 100),
    more_threads: Math.max(0, dump.threads.length - 100),
  };
}

function describe(subject, known) {
  const who = party => {
    if (party == null) return "";
    if (party.thread != null) return `thread #${party.thread}`;
    const found = known && known.get(party.coroutine);
    return `coroutine ${found ? label(found) : `#${party.coroutine}`}`;
  };
  switch (subject.kind) {
    case "lock": {
      const readers = subject.readers ? `, held by ${plural(subject.readers, "reader")}` : "";
      return `lock ${subject.address}${subject.holder ? `, held by ${who(subject.holder)}` : readers}`;
    }
    case "semaphore":
      return `semaphore ${subject.address}, ${subject.available} of ${subject.total} permits available` +
        (subject.taken_by ? `, last taken by ${who(subject.taken_by)}` : "");
    case "channel":
      return `channel ${subject.address}, ${subject.len} queued` +
        `${subject.capacity == null ? "" : ` of ${subject.capacity}`}, senders: ${subject.senders}` +
        (subject.receivers == null ? "" : `, receivers: ${subject.receivers}`);
    case "count": return `${subject.address}, ${subject.missing} missing`;
    case "coroutine": return who({ coroutine: subject.id });
    case "coroutines": return `${subject.all ? "all" : "any"} of ${plural(subject.count, "coroutine")}`;
    case "child": return `child process ${subject.pid}`;
    case "any": return `the first of: ${subject.of.map(one => describe(one, known)).join("; ")}`;
    case "descriptor": {
      const ends = [subject.local, subject.peer].filter(Boolean).join(" to ");
      return `descriptor ${subject.fd}${ends ? ` (${ends})` : ""}`;
    }
    default: return subject.address || subject.kind;
  }
}

// Stacks.

// In a release build an inlined function has a short name, so the file decides as well.
const LIBRARY_NAME = /^(0x|__|<?(sward|std|core|alloc)::)/;
const LIBRARY_FILE = new RegExp("^/rustc/|/library/(std|core|alloc)/|/sward-[0-9.]+/src/|/sysdeps/|" +
  "^src/(blocking|channel|coroutine|descriptor|fs|io|net|process|runtime|sched|select|signal|sync|task|time)/");
const isLibrary = line => LIBRARY_NAME.test(line.name) || (line.at ? LIBRARY_FILE.test(line.at.file) : !line.name.includes("::"));

function stackNodes(stack) {
  const lines = [];
  for (const frame of stack.frames) {
    if (!frame.symbols.length) lines.push({ name: frame.address });
    for (const symbol of frame.symbols) {
      const at = symbol.file && symbol.line != null ? { file: symbol.file, line: symbol.line } : null;
      lines.push({ name: symbol.name || frame.address, at });
    }
  }
  const first = lines.findIndex(line => !isLibrary(line));
  const nodes = lines.map((line, index) => element(
    "li", { class: index === first ? "first" : isLibrary(line) ? "library" : null },
    line.name, line.at && element("span", { class: "at", title: place(line.at).full }, ` ${place(line.at).short}`)));
  if (stack.extent === "cut") nodes.push(element("li", { class: "library" }, "…"));
  if (stack.extent === "no_room") {
    nodes.push(element("li", { class: "library" }, "too little of the stack is left to walk it"));
  }
  return element("ul", { class: "stack", "aria-label": "Stack, from the innermost call" }, nodes);
}

const stackKey = stack =>
  stack ? stack.frames.map(frame => frame.symbols.map(one => `${one.name}:${one.line}`).join() || frame.address).join("|") : "";

// Alarms.

// Members on a circle, each with an arrow to the next one. A large ring shows fewer, and says so by its list.
function cycleSvg(size) {
  const shown = Math.min(size, 24), middle = 88, ring = size === 1 ? 40 : 64, node = shown > 12 ? 7 : 14;
  const at = index => {
    const angle = 2 * Math.PI * index / shown - Math.PI / 2;
    return [middle + ring * Math.cos(angle), middle + ring * Math.sin(angle)];
  };
  const svg = element("svg:svg", { viewBox: "0 0 176 176", role: "img", "aria-label": `A cycle of ${size}` });
  const point = (x, y) => `${x.toFixed(1)} ${y.toFixed(1)}`;
  const arrow = (path, x, y, angle) => {
    const wing = turn => point(x - 8 * Math.cos(angle + turn), y - 8 * Math.sin(angle + turn));
    svg.append(element("svg:path", { class: "edge", d: path }),
      element("svg:path", { class: "tip", d: `M${point(x, y)}L${wing(0.45)}L${wing(-0.45)}Z` }));
  };
  for (let index = 0; index < shown; index += 1) {
    const [x, y] = at(index), [u, v] = at((index + 1) % shown);
    if (shown === 1) {
      arrow(`M${point(x - 12, y + 8)}C${point(x - 60, y + 70)} ${point(x + 60, y + 70)} ${point(x + 12, y + 8)}`,
        x + 12, y + 8, -2.2);
      continue;
    }
    // Bent outwards, so that the two arrows of a pair do not cover each other.
    const bend = shown === 2 ? 0.55 : 0.12;
    const bx = (x + u) / 2 + (v - y) * bend, by = (y + v) / 2 - (u - x) * bend;
    const to = Math.atan2(v - by, u - bx), from = Math.atan2(by - y, bx - x), gap = node + 2;
    const ex = u - gap * Math.cos(to), ey = v - gap * Math.sin(to);
    arrow(`M${point(x + gap * Math.cos(from), y + gap * Math.sin(from))}Q${point(bx, by)} ${point(ex, ey)}`, ex, ey, to);
  }
  for (let index = 0; index < shown; index += 1) {
    const [x, y] = at(index);
    svg.append(element("svg:circle", { cx: x.toFixed(1), cy: y.toFixed(1), r: node }));
    if (shown <= 12) svg.append(element("svg:text", { x: x.toFixed(1), y: y.toFixed(1) }, String(index + 1)));
  }
  return svg;
}

const memberName = member => member.coroutine == null
  ? `thread${member.name ? ` “${member.name}”` : ""}`
  : label({ id: member.coroutine, name: member.name });

function deadlockNode(deadlock) {
  const members = deadlock.members;
  const title = members.length === 1
    ? "Deadlock: one waits for its own end, or for its own lock"
    : `Deadlock: ${members.length} wait, each for the next one, and the last for the first`;
  const item = member => element("li", {},
    element("p", {}, element("strong", {}, memberName(member)), " waits in ", element("code", {}, member.call),
      member.waits_for && [" for ", element("span", { class: "code" }, member.waits_for)]),
    member.spawned_at && element("p", { class: "dim" }, "spawned at ", placeNode(member.spawned_at)),
    member.stack && element("details", {}, element("summary", {}, "Stack"), stackNodes(member.stack)));
  return element("article", { class: "alarm deadlock" },
    element("h3", {}, title),
    element("div", { class: "cycle" }, cycleSvg(members.length),
      element("ol", {}, members.slice(0, 24).map(item),
        members.length > 24 && element("p", { class: "dim" }, `and ${members.length - 24} more`))),
    deadlock.waiting_behind > 0 &&
      element("p", {}, `${plural(deadlock.waiting_behind, "more waiter")} cannot go on because of them.`));
}

const STALL_MS = 20;
const isStalled = worker => worker.state === "running" && worker.since_poll_ms > STALL_MS;

function stallNode({ worker, stacks, runtime }) {
  const runs = worker.runs, stack = runs && runs.stack != null ? stacks[runs.stack] : null;
  const who = runs ? label(runs) : `#${worker.coroutine}`;
  const behind = Math.max(0, worker.live - 1);
  return element("article", { class: "alarm stall" },
    element("h3", {}, `Stall: worker ${worker.index} runs ${who} for `, element("span", { class: "since" })),
    runs && element("p", { class: "dim" }, "spawned at ", placeNode(runs.spawned_at)),
    behind > 0 && element("p", {}, `${plural(behind, "other coroutine")} of ${runtime} live there and cannot run.`),
    stack && stackNodes(stack));
}

function showAlarms(view) {
  const alarms = [];
  for (const deadlock of view.deadlocks) {
    const key = deadlock.members.map(member => `${member.coroutine}/${member.waits_for}`).sort().join();
    alarms.push({ key: `deadlock ${key}`, node: () => deadlockNode(deadlock), update: () => {} });
  }
  for (const runtime of view.runtimes) {
    for (const worker of runtime.workers.filter(isStalled)) {
      const stalled = { worker, stacks: view.stacks, runtime: runtime.name };
      alarms.push({
        key: `stall ${runtime.name} ${worker.index} ${worker.coroutine} ${worker.live}`,
        node: () => stallNode(stalled),
        update: node => setText($(".since", node), duration(worker.since_poll_ms)),
      });
    }
  }
  if (reported > 0 && !view.deadlocks.length) {
    const node = () => element("article", { class: "alarm" },
      element("h3", {}, `The process has reported ${plural(reported, "deadlock")}`),
      element("p", {}, "None of them is a cycle at present. Its stderr says which coroutines wait, and for what."));
    alarms.push({ key: `reported ${reported}`, node, update: () => {} });
  }
  const place = $("#alarms");
  if (!alarms.length) {
    const calm = () => element("p", { class: "calm" }, "No deadlock, and no coroutine that keeps its worker");
    alarms.push({ key: "calm", node: calm, update: () => {} });
  }
  reconcile(place, alarms, one => one.key, one => one.node(), (node, one) => one.update(node));
  const worst = alarms.filter(one => one.key !== "calm").length;
  document.title = `${worst ? `(${worst}) ` : ""}sward · process ${view.process}`;
}

// Tiles with sparklines.

const SAMPLES = 120;
const history = new Map();

function remember(name, value) {
  if (!history.has(name)) history.set(name, []);
  const values = history.get(name);
  values.push(value);
  if (values.length > SAMPLES) values.shift();
  return values;
}

function sparkline(svg, values) {
  const top = Math.max(...values, 1), low = Math.min(...values, 0), width = 200, height = 28;
  const x = index => width - (values.length - 1 - index) * width / (SAMPLES - 1);
  const y = value => height - 2 - (value - low) / (top - low) * (height - 4);
  const points = values.map((value, index) => `${x(index).toFixed(1)} ${y(value).toFixed(1)}`).join("L");
  const [area, stroke] = svg.children;
  area.setAttribute("d", `M${x(0).toFixed(1)} ${height}L${points}L${width} ${height}Z`);
  stroke.setAttribute("d", `M${points}`);
}

function showTiles(view, live) {
  const total = state => sum(view.runtimes, runtime => runtime[state]);
  const workers = view.runtimes.flatMap(runtime => runtime.workers);
  const pool = view.blocking;
  const tiles = [
    { name: "Coroutines", value: total("running") + total("runnable") + total("parked") + total("unstarted") },
    { name: "Parked", value: total("parked") },
    { name: "Runnable", value: total("runnable") + total("unstarted"), note: total("unstarted") ? `${count(total("unstarted"))} unstarted` : "" },
    { name: "Running", value: total("running"), note: `on ${plural(workers.length, "worker")}` },
    { name: "Blocking calls", value: pool.running.length, note: pool.queued ? `${count(pool.queued)} queued` : `of ${plural(pool.threads, "thread")}` },
  ];
  renderTiles($("#tiles"), tiles, live);
}

function renderTiles(list, tiles, live) {
  const make = () => element("div", { class: "tile" },
    element("div", { class: "label" }), element("div", { class: "value" }, element("span"), " ", element("small")),
    element("svg:svg", { viewBox: "0 0 200 28", preserveAspectRatio: "none", "aria-hidden": "true" },
      element("svg:path", { class: "area" }), element("svg:path", { class: "stroke" })));
  reconcile(list, tiles, tile => tile.name, make, (node, tile) => {
    setText($(".label", node), tile.name);
    setText($(".value span", node), tile.text || count(tile.value));
    setText($(".value small", node), tile.note || "");
    if (live) sparkline($("svg", node), remember(tile.name, tile.value));
  });
}

// Metrics, as Prometheus reads them.

function parseMetrics(text) {
  const families = new Map();
  for (const line of text.split("\n")) {
    const parts = /^([a-z_]+)(?:\{(.*)\})? (\S+)$/.exec(line);
    if (!parts) continue;
    const [, name, labels, value] = parts;
    const sample = { value: Number(value.replace("+Inf", "Infinity")) };
    for (const [, label, its] of (labels || "").matchAll(/([a-z_]+)="((?:[^"\\]|\\.)*)"/g)) sample[label] = its;
    if (!families.has(name)) families.set(name, []);
    families.get(name).push(sample);
  }
  return families;
}

let lastMetrics = null;
let pollDelays = [];
let reported = 0;

function showMetrics(text) {
  const families = parseMetrics(text), at = performance.now();
  const all = name => sum(families.get(name) || [], sample => sample.value);
  const one = (name, state) => sum((families.get(name) || []).filter(sample => sample.state === state), sample => sample.value);
  const counters = Object.fromEntries(["turns", "polls", "steals"].map(name => [name, all(`sward_worker_${name}_total`)]));
  const passed = lastMetrics ? (at - lastMetrics.at) / 1000 : 0;
  const tiles = [];
  if (passed > 0) {
    for (const name of ["turns", "polls", "steals"]) {
      const rate = Math.max(0, counters[name] - lastMetrics.counters[name]) / passed;
      tiles.push({ name: `${name[0].toUpperCase()}${name.slice(1)} a second`, value: rate,
        text: rate < 9.95 ? rate.toFixed(1) : count(Math.round(rate)) });
    }
    tiles.push({ name: "Timers, descriptors", value: all("sward_worker_timers"),
      text: `${count(all("sward_worker_timers"))}, ${count(all("sward_worker_descriptors"))}` });
    tiles.push({ name: "Stacks in use", value: one("sward_stacks", "in_use"),
      note: `${bytes(one("sward_stack_bytes", "in_use"))}; ${count(one("sward_stacks", "cached"))} cached` });
  }
  lastMetrics = { at, counters };
  reported = all("sward_deadlocks_total");
  $("#rates").hidden = !tiles.length;
  renderTiles($("#rates"), tiles, true);
  // Buckets are cumulative.
  const ends = new Map();
  for (const sample of families.get("sward_poll_delay_seconds_bucket") || []) {
    const end = Number(sample.le.replace("+Inf", "Infinity"));
    ends.set(end, (ends.get(end) || 0) + sample.value);
  }
  let seen = 0, last = 1;
  pollDelays = [...ends].sort((a, b) => a[0] - b[0]).map(([end, upTo]) => {
    const its = upTo - seen;
    seen = upTo;
    last = end === Infinity ? 2 * last : end;
    return { below_ns: last * 1e9, count: its };
  }).filter(one => one.count > 0);
}

// Workers.

const MODES = { pinned: "", mobile_homes: ", mobile homes", migrating: ", coroutines migrate" };
const PHASES = { running: "", closing: ", shutting down", abandoned: ", ended, with leaked coroutines" };

function showWorkers(view) {
  const rows = [];
  for (const runtime of view.runtimes) {
    const title = `${runtime.name}: ${plural(runtime.workers.length, "worker")}${MODES[runtime.mode] || ""}` +
      `${PHASES[runtime.phase] || ""}${runtime.complete || runtime.mode === "migrating" ? "" : "; of coroutines on a worker in a long turn, less is known"}`;
    if (view.runtimes.length > 1 || title.includes(",") || title.includes(";")) {
      rows.push({ key: `runtime ${runtime.name}`, title });
    }
    for (const worker of runtime.workers) {
      rows.push({ key: `${runtime.name} ${worker.index}`, worker });
    }
  }
  const make = row => row.title
    ? element("tr", {}, element("td", { class: "runtime", colspan: 7 }))
    : element("tr", {}, element("td"), element("td"),
      Array.from({ length: 4 }, () => element("td", { class: "n" })), element("td", { class: "wide" }));
  reconcile($("#workers tbody"), rows, row => row.key, make, (node, row) => {
    const cells = node.children;
    if (row.title) return setText(cells[0], row.title);
    const worker = row.worker;
    node.classList.toggle("stalled", isStalled(worker));
    setText(cells[0], String(worker.index));
    setText(cells[1], worker.state);
    const runs = worker.runs;
    let text = "";
    if (runs) text = `${label(runs)}  ${place(runs.spawned_at).short}`;
    else if (worker.coroutine != null) text = `#${worker.coroutine}`;
    if (worker.blocked_in) text += `, blocked by ${worker.blocked_in} in a destructor`;
    setText(cells[6], text);
    [worker.queued, worker.assigned, worker.live].forEach((value, index) => {
      setText(cells[2 + index], count(value));
      cells[2 + index].classList.toggle("zero", value === 0);
    });
    setText(cells[5], worker.state === "asleep" ? "–" : duration(worker.since_poll_ms));
  });
}

// Bars that filter.

const filter = $("#filter");

function showBars(list, items, more) {
  const top = Math.max(...items.map(item => item.count), 1);
  const make = item => element("li", {}, element("button", {
    type: "button", title: `${item.title}: show only these`,
    onclick: () => {
      filter.value = filter.value === item.filter ? "" : item.filter;
      showGroups(shown);
    },
  }, element("span", { class: "count" }), element("span", { class: "code" }), element("span", { class: "age" })));
  reconcile(list, items.slice(0, 12), item => item.title, make, (node, item) => {
    const button = node.firstChild;
    setText(button.children[0], count(item.count));
    setText(button.children[1], item.text);
    setText(button.children[2], item.age || "");
    button.style.backgroundSize = `${(100 * item.count / top).toFixed(1)}% 100%`;
    button.setAttribute("aria-pressed", String(filter.value === item.filter));
  });
  const rest = items.slice(12), left = rest.length + more;
  let note = $(".more", list.parentNode);
  if (!note) list.after(note = element("p", { class: "more" }));
  setText(note, left ? `and ${count(left)} more` : items.length ? "" : "none");
}

function showCalls(view) {
  showBars($("#calls ol"), view.calls.map(one => ({
    title: one.call, text: one.call, filter: one.call, count: one.count, age: `up to ${duration(one.longest_ms)}`,
  })), 0);
  showBars($("#sites ol"), view.sites.map(site => ({
    title: `${place(site).full}:${site.column}`, text: place(site).short, filter: `${place(site).full}`, count: site.count,
  })), view.more_sites);
}

// Groups.

function groupText(group, stacks) {
  const stack = group.stack != null ? stacks[group.stack] : null;
  const frames = stack ? stack.frames.flatMap(frame => frame.symbols.map(one => `${one.name} ${one.file}:${one.line}`)) : [];
  return [group.state, group.call, place(group.spawned_at).full, ...group.members.map(label),
    ...group.waits_for.map(one => one.subject), ...frames].join("\n").toLowerCase();
}

function age(group) {
  if (!group.lasts_ms) return "";
  const [least, most] = [duration(group.lasts_ms.least), duration(group.lasts_ms.most)];
  return least === most ? most : `${least} – ${most}`;
}

function fillGroup(node, { group, stacks }) {
  const inside = $(".inside", node);
  const stack = group.stack != null ? stacks[group.stack] : null;
  const rows = [];
  for (const one of group.waits_for) {
    rows.push(element("dt", {}, rows.length ? "" : "Waits for"),
      element("dd", { class: "code" }, one.subject, group.count > 1 && ` (${count(one.count)} of them)`));
  }
  if (group.more_subjects) rows.push(element("dt"), element("dd", {}, `and ${plural(group.more_subjects, "other object")}`));
  const members = group.members.map(label).join(", ");
  const more = group.count - group.members.length;
  rows.push(element("dt", {}, group.count === 1 ? "Coroutine" : "Members"),
    element("dd", {}, members, more > 0 && ` and ${count(more)} more`));
  rows.push(element("dt", {}, "Spawned at"), element("dd", { class: "code" }, place(group.spawned_at).full));
  inside.replaceChildren(element("dl", {}, rows),
    stack ? stackNodes(stack) : element("p", { class: "dim" }, "The stack is not known."));
}

function showGroups(view) {
  if (!view) return;
  const wanted = filter.value.trim().toLowerCase();
  const several = view.runtimes.length > 1;
  let all = view.runtimes.flatMap(runtime => runtime.groups.map(group => ({ group, runtime: runtime.name, stacks: view.stacks })));
  all.sort((a, b) => b.group.count - a.group.count);
  const found = wanted ? all.filter(one => groupText(one.group, view.stacks).includes(wanted)) : all;
  const keyOf = ({ group, runtime }) => [runtime, group.state, group.call, place(group.spawned_at).full,
    group.spawned_at.column, group.cancelled, stackKey(view.stacks[group.stack])].join("~");
  const make = () => {
    const node = element("details", {
      class: "group", ontoggle: () => node.open && fillGroup(node, node.item),
    }, element("summary", {}, element("span", { class: "count" }), element("span", { class: "call" }),
      element("span", { class: "site code" }), element("span", { class: "age" })), element("div", { class: "inside" }));
    return node;
  };
  reconcile($("#groups .list"), found, keyOf, make, (node, one) => {
    node.item = one;
    const { group } = one;
    node.classList.toggle("running", group.state === "running");
    node.classList.toggle("runnable", group.state === "runnable");
    setText($(".count", node), count(group.count));
    const call = group.call || group.state;
    setText($(".call", node), `${call}${group.cancelled ? ", cancelled" : ""}${several ? ` · ${one.runtime}` : ""}`);
    const only = group.count === 1 && group.members[0] ? `${label(group.members[0])}  ` : "";
    setText($(".site", node), `${only}${place(group.spawned_at).short}`);
    setText($(".age", node), age(group));
    const selecting = !getSelection().isCollapsed && node.contains(getSelection().anchorNode);
    if (node.open && !selecting && !node.contains(document.activeElement)) fillGroup(node, one);
  });
  const total = sum(view.runtimes, runtime => runtime.running + runtime.runnable + runtime.parked);
  const groups = all.length + sum(view.runtimes, runtime => runtime.more_groups);
  setText($("#grouped"), `${count(total)} in ${plural(groups, "group")} of equal stacks`);
  const hidden = sum(view.runtimes, runtime => runtime.in_more_groups);
  const notes = [];
  if (wanted) notes.push(`${plural(found.length, "group")} with ${plural(sum(found, one => one.group.count), "coroutine")} match the filter.`);
  if (hidden) notes.push(`${plural(hidden, "coroutine")} in ${plural(sum(view.runtimes, runtime => runtime.more_groups), "smaller group")} are not listed.`);
  if (!total) notes.push("No coroutine has started.");
  setText($("#groups > .more"), notes.join(" "));
  for (const button of document.querySelectorAll(".bars button")) {
    const text = button.parentNode.key;
    button.setAttribute("aria-pressed", String(wanted !== "" && text.toLowerCase().startsWith(wanted)));
  }
}

// What spawn sites cost.

function bytes(size) {
  if (size < 1024) return `${size} B`;
  if (size < 1024 * 1024) return `${(size / 1024).toFixed(size < 10240 ? 1 : 0)} KiB`;
  return `${(size / 1024 / 1024).toFixed(1)} MiB`;
}

// The classes are counted up to a bound: the answer is the bound below which that share lies.
function quantile(classes, share) {
  const total = sum(classes, one => one.count);
  let seen = 0;
  for (const one of classes) {
    seen += one.count;
    if (seen >= share * total) return one.below_ns / 1e6;
  }
  return 0;
}

// Classes on a logarithmic axis, in steps of two.
function histogramSvg(classes) {
  const steps = new Map();
  for (const one of classes) {
    const step = Math.max(0, Math.ceil(Math.log2(one.below_ns)));
    steps.set(step, (steps.get(step) || 0) + one.count);
  }
  const first = Math.min(...steps.keys()), last = Math.max(...steps.keys(), first + 7);
  const top = Math.max(...steps.values()), total = sum(classes, one => one.count);
  const width = 420, height = 96, base = 76, step = width / (last - first + 1);
  const svg = element("svg:svg", { viewBox: `0 0 ${width} ${height}`, role: "img",
    "aria-label": `Half below ${duration(quantile(classes, 0.5))}, 99 % below ${duration(quantile(classes, 0.99))}` });
  svg.append(element("svg:line", { x1: 0, x2: width, y1: base + 0.5, y2: base + 0.5 }));
  for (let at = first; at <= last; at += 1) {
    const value = steps.get(at) || 0, x = (at - first) * step;
    // A class with little is still seen.
    const tall = value ? Math.max(1.5, value / top * (base - 6)) : 0;
    const bar = element("svg:rect", { x: (x + 1).toFixed(1), y: (base - tall).toFixed(1),
      width: Math.max(1, step - 2).toFixed(1), height: tall.toFixed(1), rx: 1.5 });
    bar.append(element("svg:title", {}, `below ${duration(2 ** at / 1e6)}: ${count(value)} (${(100 * value / total).toFixed(1)} %)`));
    svg.append(bar);
  }
  const every = Math.max(1, Math.ceil((last - first + 1) / 6));
  for (let at = first + every - 1; at <= last; at += every) {
    svg.append(element("svg:text", { x: ((at - first + 1) * step - 2).toFixed(1), y: base + 15, "text-anchor": "end" },
      `< ${duration(2 ** at / 1e6)}`));
  }
  return svg;
}

function showHistograms(all) {
  const drawn = all.filter(one => one.classes.length);
  reconcile($("#histograms"), drawn, one => one.title,
    one => element("div", { class: "histogram" }, element("h3", {}, one.title), element("div")),
    (node, one) => node.lastChild.replaceChildren(histogramSvg(one.classes)));
}

let lastCosts = null;

function showCosts(costs) {
  $("#costs").hidden = false;
  if (!costs.accounting) {
    setText($("#accounted"), "");
    setText($("#costs > .more"), "Accounting is off. Start the program with SWARD_ACCOUNTING=1, or call observe::set_accounting(true).");
    $("#costs .scroll").hidden = true;
    showHistograms([{ title: "Time between two polls of a worker that is awake", classes: pollDelays }]);
    lastCosts = null;
    return;
  }
  $("#costs .scroll").hidden = false;
  const name = site => `${place(site.spawned_at).full}:${site.spawned_at.column}`;
  const before = new Map(lastCosts ? lastCosts.sites.map(site => [name(site), site.processor_time_ms]) : []);
  const passed = lastCosts ? costs.accounted_ms - lastCosts.accounted_ms : 0;
  lastCosts = costs;
  const rows = costs.sites.slice(0, 30);
  const make = site => element("tr", {}, element("td", {}, placeNode(site.spawned_at)),
    Array.from({ length: 8 }, () => element("td", { class: "n" })));
  reconcile($("#costs tbody"), rows, name, make, (node, site) => {
    const delay = site.run_delay.classes, used = Math.max(site.stack.deepest, site.stack.suspended);
    const now = passed > 0 ? (site.processor_time_ms - (before.get(name(site)) || 0)) / passed : 0;
    [count(site.alive), count(site.ended), count(site.turns), passed <= 0 ? "–" : now < 0.0005 ? "0" : now.toFixed(3),
      duration(site.processor_time_ms), duration(site.longest_turn_ms),
      delay.length ? `${duration(quantile(delay, 0.5))} / ${duration(quantile(delay, 0.99))}` : "–",
      `${used ? bytes(used) : "–"} / ${site.stack.suggested ? bytes(site.stack.suggested) : "–"}`,
    ].forEach((text, index) => {
      setText(node.children[index + 1], text);
      node.children[index + 1].classList.toggle("zero", text === "0");
    });
  });
  const more = costs.sites.length - rows.length;
  setText($("#accounted"), `for ${duration(costs.accounted_ms)}`);
  setText($("#costs > .more"), `Outside of all turns: ${duration(costs.outside_of_turns_ms)} of the workers, ` +
    `${duration(costs.netpoller_ms)} of the netpoller threads.${more > 0 ? ` ${plural(more, "cheaper site")} are not listed.` : ""}`);
  const delays = new Map();
  for (const one of costs.sites.flatMap(site => site.run_delay.classes)) {
    delays.set(one.below_ns, (delays.get(one.below_ns) || 0) + one.count);
  }
  const classes = [...delays].map(([below_ns, its]) => ({ below_ns, count: its })).sort((a, b) => a.below_ns - b.below_ns);
  showHistograms([{ title: "How long coroutines waited for their turn", classes },
    { title: "Time between two polls of a worker that is awake", classes: pollDelays }]);
}

// The timeline of a trace.

const timeline = { lanes: [], from: 0, to: 1, end: 1, url: null };

function openTrace(text, name) {
  const trace = JSON.parse(text);
  const names = new Map(), lanes = new Map();
  let end = 0;
  for (const event of trace.traceEvents) {
    if (event.ph === "M" && event.name === "thread_name") names.set(event.tid, event.args.name);
    if (event.ph !== "X") continue;
    if (!lanes.has(event.tid)) lanes.set(event.tid, []);
    lanes.get(event.tid).push(event);
    end = Math.max(end, event.ts + event.dur);
  }
  const named = [...lanes].map(([tid, slices]) => ({ tid, name: names.get(tid) || `track ${tid}`, slices }));
  timeline.lanes = named.sort((a, b) => a.tid - b.tid).slice(0, 64);
  for (const lane of timeline.lanes) lane.slices.sort((a, b) => a.ts - b.ts);
  timeline.end = timeline.to = Math.max(end, 1);
  timeline.from = 0;
  if (timeline.url) URL.revokeObjectURL(timeline.url);
  timeline.url = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  $("#save").href = timeline.url;
  const turns = sum(timeline.lanes, lane => lane.slices.filter(slice => slice.cat === "turn").length);
  const lost = trace.otherData && trace.otherData.lost_events;
  const said = turns ? `${plural(turns, "turn")} in ${duration(timeline.end / 1000)}${name ? ` of ${name}` : ""}` : "nothing was recorded";
  setText($("#recorded"), said + (lost ? `, ${plural(lost, "event")} lost` : ""));
  $("#timeline").hidden = false;
  $("#lanes").hidden = $("#zoom").hidden = !timeline.lanes.length;
  setText($("#slice"), timeline.lanes.length ? "Point at a slice. Drag to move; the keys + and - zoom, arrows move." : "");
  drawTimeline();
}

const LANE = 24, AXIS = 20;
const HUES = [152, 212, 32, 268, 186, 340, 92, 240];

function hueOf(name) {
  let hash = 0;
  for (const letter of name) hash = (31 * hash + letter.charCodeAt(0)) | 0;
  return HUES[Math.abs(hash) % HUES.length];
}

// The first slice that ends after that time.
function firstAfter(slices, time) {
  let low = 0, high = slices.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (slices[middle].ts + slices[middle].dur < time) low = middle + 1;
    else high = middle;
  }
  return low;
}

function drawTimeline() {
  const canvas = $("#lanes"), { lanes, from, to } = timeline;
  if (!lanes.length || canvas.hidden) return;
  const width = canvas.clientWidth, height = lanes.length * LANE + AXIS, scale = devicePixelRatio || 1;
  canvas.style.height = `${height}px`;
  canvas.width = width * scale;
  canvas.height = height * scale;
  const draw = canvas.getContext("2d"), style = getComputedStyle(document.body);
  const colour = name => style.getPropertyValue(name).trim();
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const left = width < 600 ? 64 : 110, x = time => left + (time - from) / (to - from) * (width - left);
  draw.scale(scale, scale);
  draw.font = "11px system-ui, sans-serif";
  draw.textBaseline = "middle";
  // A step of 1, 2 or 5 times a power of ten, for about eight lines.
  const rough = (to - from) / (width < 600 ? 4 : 8), power = 10 ** Math.floor(Math.log10(rough));
  const tick = [1, 2, 5, 10].map(times => times * power).find(step => step >= rough);
  for (let at = Math.ceil(from / tick) * tick; at <= to; at += tick) {
    draw.fillStyle = colour("--line");
    draw.fillRect(x(at), 0, 1, height - AXIS + 4);
    draw.fillStyle = colour("--dim");
    draw.textAlign = x(at) > width - 40 ? "right" : "left";
    draw.fillText(`${(at / 1000).toFixed(Math.max(0, 3 - Math.floor(Math.log10(tick))))} ms`, x(at) + 2, height - AXIS / 2);
  }
  draw.textAlign = "left";
  lanes.forEach((lane, row) => {
    const y = row * LANE;
    let drawn = -1;
    for (let index = firstAfter(lane.slices, from); index < lane.slices.length; index += 1) {
      const slice = lane.slices[index];
      if (slice.ts > to) break;
      if (slice.cat === "sleep") continue;
      const begin = Math.max(left, x(slice.ts)), end = Math.min(width, x(slice.ts + slice.dur));
      // Slices of less than a pixel are one.
      if (end <= drawn) continue;
      const wide = Math.max(1, end - begin);
      const tall = slice.cat === "poll" ? LANE - 16 : LANE - 8;
      draw.fillStyle = slice.cat === "poll" || slice.cat === "wake" ? colour("--dim")
        : `hsl(${hueOf(slice.name)} ${dark ? "40% 50%" : "45% 62%"})`;
      draw.fillRect(begin, y + (LANE - tall) / 2, wide > 3 ? wide - 0.5 : wide, tall);
      drawn = Math.max(end, begin + 1);
      if (wide > 50) {
        draw.save();
        draw.beginPath();
        draw.rect(begin, y, wide - 4, LANE);
        draw.clip();
        draw.fillStyle = "#111";
        draw.fillText(slice.name, begin + 4, y + LANE / 2);
        draw.restore();
      }
    }
    draw.fillStyle = colour("--card");
    draw.fillRect(0, y, left, LANE);
    draw.fillStyle = colour("--text");
    draw.fillText(lane.name, 8, y + LANE / 2, left - 12);
  });
  timeline.scale = { left, width };
}

function moveTimeline(what, middle) {
  const span = timeline.to - timeline.from, at = middle == null ? timeline.from + span / 2 : middle;
  const wanted = { in: span / 2, out: span * 2 }[what] || span;
  const next = Math.min(timeline.end, Math.max(wanted, 1));
  let from = at - (at - timeline.from) * next / span;
  if (what === "left") from -= span / 4;
  if (what === "right") from += span / 4;
  if (typeof what === "number") from += what;
  timeline.from = Math.min(Math.max(0, from), timeline.end - next);
  timeline.to = timeline.from + next;
  drawTimeline();
}

function pointAt(event) {
  const { left, width } = timeline.scale, box = $("#lanes").getBoundingClientRect();
  const time = timeline.from + (event.clientX - box.left - left) / (width - left) * (timeline.to - timeline.from);
  const lane = timeline.lanes[Math.floor((event.clientY - box.top) / LANE)];
  if (!lane || event.clientX - box.left < left) return;
  const slice = lane.slices[firstAfter(lane.slices, time)];
  if (!slice || slice.ts > time) return setText($("#slice"), `${lane.name} at ${duration(time / 1000)}`);
  const args = slice.args || {};
  const parts = [lane.name, args.coroutine == null ? slice.name : `${slice.name} #${args.coroutine}`,
    `${duration(slice.dur / 1000)}, from ${duration(slice.ts / 1000)}`];
  if (args.spawned_at) parts.push(`spawned at ${args.spawned_at}`);
  if (args.end) parts.push(args.end);
  setText($("#slice"), parts.join(" · "));
}

async function record() {
  const button = $("#record");
  button.disabled = true;
  setText($("#recorded"), "recording");
  try {
    openTrace(await get(`trace?${$("#span").value}`).then(answer => answer.text()), "");
  } catch (error) {
    setText($("#recorded"), `no trace: ${error.message}`);
  }
  button.disabled = false;
}

$("#record").addEventListener("click", record);
for (const button of document.querySelectorAll("#zoom button")) {
  button.addEventListener("click", () => moveTimeline(button.value));
}
$("#lanes").addEventListener("keydown", event => {
  const what = { "+": "in", "=": "in", "-": "out", ArrowLeft: "left", ArrowRight: "right" }[event.key];
  if (!what) return;
  event.preventDefault();
  moveTimeline(what);
});
$("#lanes").addEventListener("pointermove", event => {
  if (event.buttons && event.pointerType === "mouse") {
    const { left, width } = timeline.scale;
    moveTimeline(-event.movementX / (width - left) * (timeline.to - timeline.from));
  }
  pointAt(event);
});
$("#lanes").addEventListener("pointerdown", pointAt);
$("#lanes").addEventListener("wheel", event => {
  if (!event.ctrlKey && document.activeElement !== $("#lanes")) return;
  event.preventDefault();
  const { left, width } = timeline.scale, box = $("#lanes").getBoundingClientRect();
  const share = (event.clientX - box.left - left) / (width - left);
  moveTimeline(event.deltaY < 0 ? "in" : "out", timeline.from + share * (timeline.to - timeline.from));
}, { passive: false });
addEventListener("resize", drawTimeline);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawTimeline);

// Threads and the blocking pool.

function showOthers(view) {
  const lines = view.threads.map(thread => {
    const who = thread.number != null ? `thread #${thread.number}` : `the worker of coroutine #${thread.coroutine}`;
    const subject = thread.wait.subject ? `, waits for ${describe(thread.wait.subject)}` : "";
    return `${who}${thread.name ? ` “${thread.name}”` : ""}: blocked in ${thread.wait.call} for ${duration(thread.wait.lasts_ms)}${subject}`;
  });
  if (view.more_threads) lines.push(`and ${plural(view.more_threads, "more thread")}`);
  for (const call of view.blocking.running.slice(0, 100)) {
    lines.push(`blocking call ${call.number} at ${place(call.made_at).short} runs for ${duration(call.lasts_ms)}`);
  }
  $("#others").hidden = !lines.length;
  const items = lines.map((text, index) => ({ text, index }));
  reconcile($("#others ul"), items, item => item.index, () => element("li"), (node, item) => setText(node, item.text));
}

// All of it.

let shown = null;

function show(view, live) {
  shown = view;
  setText($("#what"), `process ${view.process} · ${new Date(view.time_ms).toLocaleTimeString()}`);
  showAlarms(view);
  showTiles(view, live);
  showWorkers(view);
  showCalls(view);
  showGroups(view);
  showOthers(view);
}

// Live.

const served = location.protocol.startsWith("http");
let paused = !served;
let timer = 0;
let polls = 0;

function state(text, kind) {
  const live = $("#live");
  live.className = kind;
  setText(live, text);
}

async function get(path) {
  const answer = await fetch(path, { cache: "no-store" });
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer;
}

async function poll() {
  timer = 0;
  if (paused || document.hidden) return;
  const began = performance.now();
  try {
    const summary = await get("summary.json").then(answer => answer.json());
    if (paused) return;
    show({ ...summary, deadlocks: shown ? shown.deadlocks : [] }, true);
    const { deadlocks } = await get("deadlocks.json").then(answer => answer.json());
    if (paused) return;
    shown.deadlocks = deadlocks;
    showAlarms(shown);
    showMetrics(await get("metrics").then(answer => answer.text()));
    // Without accounting little changes there.
    if (lastCosts || polls % 10 === 0) showCosts(await get("sites.json").then(answer => answer.json()));
    polls += 1;
    if (paused) return;
    state("live", "on");
  } catch (error) {
    if (paused) return;
    state("no answer", "off");
  }
  // A large program pays at most a tenth of one processor for this page.
  const wait = Math.min(10000, Math.max(1000, 9 * (performance.now() - began)));
  timer = setTimeout(poll, wait);
}

function pause(on) {
  paused = on;
  $("#pause").setAttribute("aria-pressed", String(on));
  setText($("#pause"), on ? "Go on" : "Pause");
  if (on) state("paused", "");
  else if (!timer) poll();
}

// Dumps from elsewhere.

function showText(text, name) {
  if (served) pause(true);
  let dump;
  try {
    dump = JSON.parse(text);
  } catch {
    dump = null;
  }
  if (dump && Array.isArray(dump.runtimes) && dump.version === 1) {
    $("pre.text")?.remove();
    show({ ...summarize(dump), deadlocks: [] }, false);
    state(`from ${name}`, "");
  } else if (dump && Array.isArray(dump.traceEvents)) {
    openTrace(text, name);
    state(`from ${name}`, "");
  } else if (dump) {
    state(`${name} is no dump that this page knows`, "off");
  } else {
    $("pre.text")?.remove();
    $("main").prepend(element("pre", { class: "text" }, text));
    state(`text from ${name}`, "");
  }
}

$("#pause").addEventListener("click", () => pause(!paused));
$("#open").addEventListener("click", () => $("#file").click());
$("#file").addEventListener("change", async event => {
  const [file] = event.target.files;
  if (file) showText(await file.text(), file.name);
  event.target.value = "";
});
addEventListener("dragover", event => {
  event.preventDefault();
  $("#drop").hidden = false;
});
addEventListener("dragleave", event => {
  if (!event.relatedTarget) $("#drop").hidden = true;
});
addEventListener("drop", async event => {
  event.preventDefault();
  $("#drop").hidden = true;
  const [file] = event.dataTransfer.files;
  if (file) showText(await file.text(), file.name);
  else if (event.dataTransfer.getData("text")) showText(event.dataTransfer.getData("text"), "the clipboard");
});
addEventListener("paste", event => {
  if (event.target === filter) return;
  const text = event.clipboardData.getData("text");
  if (text) showText(text, "the clipboard");
});
filter.addEventListener("input", () => showGroups(shown));
addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target === filter) {
    if (event.key === "Escape") {
      filter.value = "";
      showGroups(shown);
      filter.blur();
    }
    return;
  }
  if (event.key === "/") {
    event.preventDefault();
    filter.focus();
  } else if (event.key === "p" && served) pause(!paused);
});
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && !paused && !timer) poll();
});

if (served) poll();
else {
  for (const link of document.querySelectorAll("nav a")) link.hidden = true;
  $("#pause").hidden = true;
  setText($("#what"), "Open, drop or paste a dump.json here.");
  for (const section of document.querySelectorAll("main > *")) section.hidden = true;
  const reveal = new MutationObserver(() => {
    if (!shown) return;
    for (const section of document.querySelectorAll("main > section:not(#others, #costs, #rates, #timeline), main > .pair")) section.hidden = false;
    reveal.disconnect();
  });
  reveal.observe($("#live"), { childList: true, characterData: true, subtree: true });
}
