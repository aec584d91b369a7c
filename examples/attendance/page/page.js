// The page of the attendance example: asks the service, shows what it answers. It holds no key and no rule.

const $ = selector => document.querySelector(selector);
const company = $("#company"), employee = $("#employee"), checkin = $("#checkin");
let found = new Set();

// People who do not exist, so that there is something to try at once.
const people = [
  { employee: "e-17", name: "Lin Xiaoyu", phone: "138 0013 8000", lat: 31.2304, lon: 121.4737 },
  { employee: "e-23", name: "Zoë Übermüller", phone: "+49 30 23125 758", lat: 52.5211, lon: 13.4106 },
  { employee: "e-31", name: "Ксения Примерная", phone: "+7 000 000-90-30", lat: 48.7071, lon: 44.5169 },
];
let next = 0;

async function ask(path, body) {
  const answer = await fetch(path, body === undefined ? {} : {
    method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body),
  }).catch(() => { throw new Error("The service does not answer; is it running?"); });
  const message = await answer.json().catch(() => null);
  if (!answer.ok) throw new Error(message?.error ?? `The service answered ${answer.status}.`);
  return message;
}

function say(text, bad = false) {
  $("#said").replaceChildren(text);
  $("#said").classList.toggle("bad", bad);
}

function element(name, text, className = "") {
  return Object.assign(document.createElement(name), { textContent: text, className });
}

function options(select, values) {
  const chosen = select.value;
  select.replaceChildren(...values.map(value => new Option(value, value, false, value === chosen)));
}

function cell(value, name) {
  const [[kind, content]] = Object.entries(value);
  const td = element("td", "", kind);
  td.dataset.name = name;
  if (kind === "moment") {
    const time = element("time", new Date(content).toLocaleTimeString());
    time.dateTime = time.title = content;
    td.append(time);
  } else if (kind === "dead") {
    td.textContent = content.word;
    td.title = content.why;
  } else {
    td.textContent = content;
    if (kind === "sealed") td.title = content;
  }
  return td;
}

// The rows, and under them once in full what short words in them mean.
function table({ refused, columns, rows }) {
  if (refused) return [element("p", refused, "refused")];
  const table = document.createElement("table");
  const head = table.createTHead().insertRow();
  for (const name of columns) head.append(Object.assign(element("th", name), { scope: "col" }));
  const body = table.createTBody(), notes = new Map();
  for (const row of rows) {
    const tr = body.insertRow();
    tr.dataset.id = row.id;
    tr.classList.toggle("found", found.has(row.id));
    tr.append(...row.cells.map((value, at) => cell(value, columns[at])));
    for (const { dead } of row.cells) if (dead) notes.set(dead.word, dead.why);
  }
  return [table, ...[...notes].map(([word, why]) => element("p", `${word}: ${why}`, "note"))];
}

async function show() {
  const { companies, employees } = await ask("/api/state");
  options(company, companies.map(({ id }) => id));
  const firm = companies.find(({ id }) => id === company.value);
  const staff = employees.filter(({ company_id }) => company_id === firm.id);
  options(employee, staff.map(({ id }) => id));
  const person = staff.find(({ id }) => id === employee.value);

  $("[data-view=employee] h2").textContent = person ? `The employee ${person.id}` : "The employee";
  const gone = firm.standing === "gone";
  $("#standing").textContent = gone ? `${firm.id} has left, and its key is destroyed.` : !person ? "Nobody has checked in yet."
    : { active: `${person.id} works here.`, left: `${person.id} has left; the rows are kept for a time.`, erased: `The key of ${person.id} is destroyed.` }[person.standing];
  $("#leave").disabled = gone || person?.standing !== "active";
  $("#erase").disabled = gone || person?.standing !== "left";
  $("#erase-company").disabled = gone;

  const views = await ask(`/api/views?${new URLSearchParams({ company: firm.id, employee: person?.id ?? "" })}`);
  for (const article of document.querySelectorAll("article")) {
    article.querySelector(".rows").replaceChildren(...table(views[article.dataset.view]));
  }
}

// Whatever somebody does ends with the views as they are then, or with what is wrong in words. One thing at a time.
let busy = false;
function on(target, event, act) {
  target.addEventListener(event, async happened => {
    happened.preventDefault();
    if (busy) return;
    busy = true;
    document.body.ariaBusy = "true";
    try { await act(target); await show(); } catch (error) { say(error.message, true); }
    busy = false;
    document.body.ariaBusy = "false";
  });
}

function fill() {
  for (const [name, value] of Object.entries(people[next++ % people.length])) checkin.elements[name].value = value;
}

// The same check-in submitted again, because no answer came, keeps its id; an edited one is another.
let id = crypto.randomUUID();
checkin.addEventListener("input", () => { id = crypto.randomUUID(); });

on(checkin, "submit", async form => {
  const { employee: who, name, phone, lat, lon } = Object.fromEntries(new FormData(form));
  const place = { lat: Number(lat), lon: Number(lon) };
  await ask("/api/checkins", { id, company: company.value, employee: who, name, phone, place });
  id = crypto.randomUUID();
  say(`${who} is checked in. The row is sealed.`);
  fill();
  employee.append(new Option(who, who));
  employee.value = who;
});
on($("#search"), "submit", async form => {
  const { ids } = await ask("/api/search", { company: company.value, phone: new FormData(form).get("phone") });
  found = new Set(ids);
  $("#found").textContent = ids.length === 0 ? "No row has this number." : ids.length === 1 ? "One row, marked below." : `${ids.length} rows, marked below.`;
});
on(company, "change", () => { found = new Set(); });
on(employee, "change", () => {});
on($("#leave"), "click", async () => {
  await ask("/api/leave", { company: company.value, employee: employee.value });
  say(`The rights of ${employee.value} have ended.`);
});
on($("#erase"), "click", () => destroy({ company: company.value, employee: employee.value }));
on($("#erase-company"), "click", () => destroy({ company: company.value }));

async function destroy(whose) {
  const name = whose.employee ?? whose.company;
  if (!await sure(`Destroy the key of ${name}? Nobody will read these rows again, in no copy and in no backup.`)) return;
  say("Destroying, and waiting until nothing leads to the key any more …");
  const { risks } = await ask("/api/erase", whose);
  const link = element("a", "certificate of destruction");
  link.href = `/api/certificate?${new URLSearchParams(whose)}`;
  link.download = `certificate-${name}.json`;
  const details = element("details", "");
  details.append(element("summary", "What a policy still has to accept"), element("p", risks.join(", ")));
  say(`The key of ${name} is destroyed. The `);
  $("#said").append(link, " was checked: erased.", details);
}

function sure(question) {
  const dialog = $("#sure");
  dialog.querySelector("p").textContent = question;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise(answered => dialog.addEventListener("close", () => answered(dialog.returnValue === "yes"), { once: true }));
}

fill();
show().catch(error => say(error.message, true));
