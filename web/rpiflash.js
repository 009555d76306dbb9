// Makes the page's elements of its data, and anew of what a live page hears of changes. Nothing that comes as data is ever
// markup: texts are text nodes, names of elements and attributes are the ones that stand here.
"use strict";

const page = {parts: new Map(), live: false};
const name = location.pathname.split("/").pop() || "index.html";

// What is written about targets and their runs.

function element(tag, attributes = {}, ...children) {
  const made = tag === "svg" || tag === "path" || tag === "polyline" || tag === "circle" || tag === "title"
    ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, typeof value === "string" ? plain(value) : value);
  made.append(...children.flat(Infinity).filter(child => child !== undefined && child !== null).map(
    child => typeof child === "string" ? plain(child) : child));
  return made;
}

// Control characters, marks that turn the direction of writing and the like, as the program's log has them too.
function plain(text) {
  return text.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, one => one === "\n" ? one : `\\u${one.codePointAt(0).toString(16).padStart(4, "0")}`);
}

const mebibytes = bytes => `${(Math.round(bytes / 104857.6) / 10).toFixed(1)} MiB`;
const seconds = time => `${time.toFixed(1)} s`;
const known = (value, text) => value === undefined || value === null ? undefined : text(value);
const link = (to, ...text) => element("a", {href: to}, ...text);
const time = iso => element("time", {datetime: iso}, `${iso.slice(0, 16).replace("T", " ")} UTC`);
const digits = target => target.entry.mac.replaceAll(":", "");
const target = one => `target-${digits(one)}.html`;
const nameOf = target => target.entry.name || target.entry.ip;
const imageName = record => record.image.path.split("/").pop();

function writeRate(record) {
  const card = record && record.card;
  return card && card.write_bytes >= 8 << 20 && card.write_seconds > 0 ? card.write_bytes / card.write_seconds : undefined;
}

function look(run) {
  if (!run || !run.record) return "unknown";
  if (run.record.status === undefined) return run.is_running ? "running" : "failed";
  return run.record.status === 0 ? "proven" : run.record.status === 1 ? "waiting" : "failed";
}

function stepText(step) {
  if (!step) return "begins";
  const left = known(step.seconds_left, s => `, ${s < 100 ? `${s} s` : `${Math.round(s / 60)} min`} left`) || "";
  switch (step.event) {
  case "chunk": case "part": return `${step.event} ${step.number} of ${step.count}${left}`;
  case "reset": return step.attempt > 1 ? `reset, attempt ${step.attempt}` : "reset";
  case "asked": return "asks for its image";
  case "waiting": return "proven, waiting until it is up";
  default: return step.event;
  }
}

const state = run => run ? run.is_running ? stepText(run.step) : run.outcome : "no run so far";

function bar(run) {
  if (!run || !run.is_running) return undefined;
  const [done, all] = run.step && run.step.count ? [run.step.number, run.step.count] : [0, 1];
  return element("progress", {value: done, max: all, "aria-label": stepText(run.step)});
}

function list(rows) {
  return element("dl", {}, rows.filter(row => row[1] !== undefined).map(
    ([name, ...values]) => [element("dt", {}, name), element("dd", {}, ...values)]));
}

function card(part, tag, heading) {
  const {run, board} = part, record = run && run.record;
  return element(tag, {class: `target ${look(run)}`}, heading,
    element("p", {class: "tags"}, part.target.tags.map(tag => element("span", {}, tag))),
    element("p", {class: "state"}, run ? link(`run-${run.id}.html`, state(run)) : state(run)), bar(run),
    list([
      [run && run.is_running ? "began" : "ended", known(record, r => time(r.ended || r.started)), " by ",
        known(record, r => r.by.user)],
      ["image", known(record, imageName)],
      ["card", known(part.trend, text => element("span", {class: text.includes("replace it") || text.includes("getting bad") ? "worn" : "usual"}, text))],
      ["U-Boot", known(board && board.uboot, text => text.replace("U-Boot ", "").split(" ")[0])],
      ["boot script", known(board && board.script, String)],
      ["Linux", known(board && board.linux, text => text)],
      ["agent", known(board && board.agent, String)],
    ]));
}

function text(name, lines, file) {
  if (!lines) return undefined;
  return [element("h2", {}, name, file ? [" ", element("small", {}, link(file, "whole file"))] : []),
    element("pre", {tabindex: 0, role: "region", "aria-label": name}, lines)];
}

// Events that only say how far something is.
const counting = ["unpacking", "preparing", "staging", "chunk", "part", "file", "wrote", "waiting"];

// What a run's event says.
function eventText(event) {
  const size = known(event.bytes, b => `${mebibytes(b)} on the card`), proven = event.event === "proven" || event.proven;
  const details = [
    event.image, event.server, event.method, event.event === "asked" ? event.ip : undefined, event.text,
    proven ? size : undefined, proven ? known(event.written, b => `${mebibytes(b)} of it written`) : undefined,
    known(event.status, s => `exit status ${s}`), event.error];
  const head = event.event === "note" ? [] : [event.event === "asked" || event.event === "reset" ? stepText(event) : event.event];
  return `${event.time.toFixed(1).padStart(8)} s  ${head.concat(details.filter(Boolean)).join(", ")}`;
}

// How fast a card was written: one point a run, the oldest on the left.
function plot() {
  const rates = [...page.parts].filter(([id]) => id.startsWith("run-")).map(([, run]) => writeRate(run.record))
    .filter(rate => rate !== undefined).reverse();
  if (rates.length < 2) return undefined;
  const most = Math.max(...rates);
  const points = rates.map((rate, n) => [8 + 584 * n / (rates.length - 1), 112 - 100 * rate / most].map(Math.round));
  const said = `${rates.length} runs, the last one at ${mebibytes(rates[rates.length - 1])}/s, the fastest at ${mebibytes(most)}/s`;
  return [element("h2", {}, "How fast the card is written"),
    element("svg", {class: "rates", viewBox: "0 0 600 120", role: "img", "aria-label": said},
      element("path", {d: "M8 112H592"}), element("polyline", {points: points.join(" ")}),
      points.map(([x, y]) => element("circle", {cx: x, cy: y, r: 4}))),
    element("p", {}, said)];
}

function runRow(run) {
  const record = run.record;
  return element("tr", {},
    [link(`run-${run.id}.html`, record ? time(record.started) : run.id), element("span", {class: look(run)}, state(run)),
      record && imageName(record), record && record.by.user, record && record.proven && mebibytes(record.proven.written),
      record && known(record.timings.flash, seconds), known(writeRate(record), rate => `${mebibytes(rate)}/s`),
    ].map(cell => element("td", {}, cell)));
}

// The target of a run; one whose only record is damaged has no name.
const above = () => page.parts.get("above") || {entry: {name: "a target that is not known", mac: name.slice(20, 32)}};

const file = kind => {
  const run = [...page.parts.keys()].find(id => id.startsWith("run-"));
  return run && `${run}.${kind}.txt`;
};

// The elements of a page, by the name of their part. A part's element gets the part's name as its id.

const make = {
  findings: findings => element("ul", {class: "findings"}, findings.filter(one => one.level !== "ok").map(
    one => element("li", {class: one.level}, element("b", {}, one.level), ` ${one.topic}: ${one.text}`))),
  target: part => name.startsWith("target-")
    ? card(part, "section", [element("h1", {}, nameOf(part.target)),
      element("p", {}, `${part.target.entry.mac}, ${part.target.entry.ip}`)])
    : card(part, "li", element("h2", {}, link(target(part.target), nameOf(part.target)))),
  run: run => name.startsWith("target-") ? runRow(run)
    : element("section", {class: `target ${look(run)}`}, element("h1", {}, `Run of ${nameOf(above())}`),
      element("p", {class: "state"}, state(run)), bar(run)),
  facts: facts => element("section", {}, list(facts || [])),
  above: () => element("section", {}),
  events: events => element("section", {}, text("Events",
    events.filter(event => !counting.includes(event.event)).map(eventText).join("\n"), file("events"))),
  console: lines => element("section", {}, text("Console", lines, file("console"))),
  report: lines => element("section", {}, text("Report of the target", lines, file("report"))),
};

function draw(id) {
  const made = make[id.split("-")[0]](page.parts.get(id));
  made.id = id;
  return made;
}

// What is beside the parts.

const names = {running: "flashing", proven: "proven", waiting: "proven, but not up", failed: "failed", unknown: "unknown"};

function counts() {
  const targets = [...page.parts].filter(([id]) => id.startsWith("target-")).map(([, part]) => look(part.run));
  return [element("h1", {}, `${targets.length} target${targets.length === 1 ? "" : "s"}`),
    element("p", {class: "counts"}, Object.entries(names).map(([key, said]) => {
      const count = targets.filter(one => one === key).length;
      return count ? element("span", {class: key}, `${count} ${said}`) : undefined;
    }))];
}

function drawAll() {
  const ids = [...page.parts.keys()], main = document.getElementById("main");
  const of = kind => ids.filter(id => id.split("-")[0] === kind).map(draw);
  const up = (...more) => element("nav", {"aria-label": "Above"}, link("index.html", "bench"), ...more);
  if (name.startsWith("target-")) {
    const heads = ["run", "outcome", "image", "by", "written", "time", "write rate"];
    main.replaceChildren(up(), ...of("target"), element("section", {id: "rates"}, plot()),
      element("section", {}, element("h2", {}, "Runs"),
        element("div", {class: "wide", tabindex: 0, role: "region", "aria-label": "Runs"}, element("table", {},
          element("thead", {}, element("tr", {}, heads.map(head => element("th", {scope: "col"}, head)))),
          element("tbody", {}, of("run"))))), ...of("console"));
  } else if (name.startsWith("run-")) {
    main.replaceChildren(up(" › ", link(target(above()), nameOf(above()))), ...of("run"), ...of("facts"), ...of("events"), ...of("console"), ...of("report"));
  } else {
    main.replaceChildren(element("section", {id: "counts"}, counts()), ...of("findings"),
      element("ul", {class: "targets"}, of("target")));
  }
  const first = main.querySelector("h1");
  document.title = name === "index.html" ? "rpiflash: bench"
    : `rpiflash: ${name.startsWith("run-") ? `run of ${nameOf(above())}` : first.textContent}`;
}

// Takes a message: the whole page, or parts of it that are other than they were.
function take(message) {
  const {parts} = page, old = [...parts.keys()].join(), changed = message.parts.filter(
    ([id, part]) => JSON.stringify(part) !== JSON.stringify(parts.get(id)));
  if (message.whole && old !== message.parts.map(([id]) => id).join()) {
    page.parts = new Map(message.parts);
    drawAll();
  } else if (changed.length) {
    for (const [id, part] of changed) parts.set(id, part);
    for (const [id] of changed) replace(document.getElementById(id), draw(id));
    if (name === "index.html") document.getElementById("counts").replaceChildren(...counts());
    if (name.startsWith("target-")) document.getElementById("rates").replaceChildren(...(plot() || []));
  }
  tellTimes();
}

// Who reads the end of a text goes on reading its end; who has chosen a link keeps it.
function replace(old, made) {
  const focused = old.contains(document.activeElement) ? document.activeElement : undefined;
  const [from, to] = [old.querySelector("pre"), made.querySelector("pre")];
  const [isAtEnd, top] = from ? [from.scrollTop + from.clientHeight >= from.scrollHeight - 4, from.scrollTop] : [false, 0];
  old.replaceWith(made);
  if (to) to.scrollTop = isAtEnd ? to.scrollHeight : top;
  if (focused) [...made.querySelectorAll("a, pre")].find(one => one.href === focused.href)?.focus();
}

// How long ago something was, of what was not long ago.
function tellTimes() {
  if (!page.live) return;
  for (const one of document.querySelectorAll("time")) {
    const minutes = Math.round((Date.now() - Date.parse(one.dateTime)) / 60000);
    one.title = one.dateTime;
    if (minutes < 0 || minutes >= 1440) continue;
    one.textContent = minutes < 1 ? "just now" : minutes < 60 ? `${minutes} min ago` : `${Math.floor(minutes / 60)} h ago`;
  }
}

// Follows the page. A browser tries again by itself, but not after every kind of end, and it does not notice a connection
// that is cut without a word.
function follow() {
  const tell = (isLost, text) => {
    document.body.classList.toggle("lost", isLost);
    document.getElementById("live").textContent = text;
  };
  let source, heard = Date.now();
  const connect = () => {
    if (source) source.close();
    source = new EventSource(name.replace(".html", ".live"));
    const hear = event => {
      heard = Date.now();
      tell(false, "live");
      if (event.data) take(JSON.parse(event.data));
    };
    source.onmessage = hear;
    source.addEventListener("beat", hear);
    source.onerror = () => tell(true, "connection lost, trying again");
  };
  connect();
  setInterval(() => {
    tellTimes();
    const silence = Date.now() - heard;
    if (source.readyState === EventSource.CLOSED || silence > 40000) {
      heard = Date.now();
      connect();
    }
  }, 2000);
}

const data = JSON.parse(document.getElementById("data").textContent);
page.live = data.live;
take(data);
if (page.live) follow();
