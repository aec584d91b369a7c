// The page of the attendance example: asks the service, shows what it answers. It holds no key and no rule.

const $ = selector => document.querySelector(selector);
const company = $("#company"), employee = $("#employee");
let state = { companies: [], employees: [] };
let found = new Set();

async function ask(path, body) {
  const answer = await fetch(path, body === undefined ? {} : {
    method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body),
  });
  const text = await answer.text();
  const message = text && JSON.parse(text);
  if (!answer.ok) throw new Error(message?.error ?? answer.statusText);
  return message;
}

function say(text, bad = false) {
  $("#said").textContent = text;
  $("#said").classList.toggle("bad", bad);
}

function options(select, values, chosen) {
  select.replaceChildren(...values.map(value => new Option(value, value, false, value === chosen)));
}

function cell(value) {
  const td = document.createElement("td");
  if (value?.sealed !== undefined) { td.className = "sealed"; td.textContent = value.sealed; td.title = value.sealed; }
  else if (value?.dead !== undefined) { td.className = "dead"; td.textContent = value.dead; }
  else td.textContent = value ?? "";
  return td;
}

function table(view) {
  if (view.refused) {
    const p = document.createElement("p");
    p.className = "refused";
    p.textContent = view.refused;
    return p;
  }
  const table = document.createElement("table");
  const head = table.createTHead().insertRow();
  for (const name of view.columns) {
    const th = document.createElement("th");
    th.textContent = name;
    head.append(th);
  }
  const body = table.createTBody();
  for (const row of view.rows) {
    const tr = body.insertRow();
    tr.dataset.id = row.id;
    tr.classList.toggle("found", found.has(row.id));
    tr.append(...row.cells.map(cell));
  }
  return table;
}

async function show() {
  state = await ask("/api/state");
  const chosen = state.companies.find(c => c.name === company.value) ?? state.companies[0];
  options(company, state.companies.map(c => c.name), chosen?.name);
  const people = state.employees.filter(e => e.company === chosen?.name);
  const person = people.find(e => e.id === employee.value) ?? people[0];
  options(employee, people.map(e => e.id), person?.id);
  $("#standing").textContent = chosen?.gone ? "the company left" : person?.erased ? "key destroyed" : person?.left ? "has left" : person ? "employed" : "";
  $("#leave").disabled = !person || person.left || chosen?.gone;
  $("#erase").disabled = !person || !person.left || person.erased || chosen?.gone;
  $("#erase-company").disabled = !chosen || chosen.gone;
  if (!chosen) return;
  const where = new URLSearchParams({ company: chosen.name, employee: person?.id ?? "" });
  const views = await ask(`/api/views?${where}`);
  for (const article of document.querySelectorAll("article")) {
    article.querySelector(".rows").replaceChildren(table(views[article.dataset.view]));
  }
  document.body.dataset.shown = String(Number(document.body.dataset.shown ?? 0) + 1);
}

function on(target, event, act) {
  target.addEventListener(event, async happened => {
    happened.preventDefault();
    try { await act(happened); } catch (error) { say(error.message, true); }
  });
}

on(company, "change", () => { found = new Set(); return show(); });
on(employee, "change", show);
on($("#checkin"), "submit", async ({ target }) => {
  const fields = Object.fromEntries(new FormData(target));
  const { id } = await ask("/api/checkins", {
    company: company.value, employee: fields.employee, name: fields.name, phone: fields.phone,
    place: { lat: Number(fields.lat), lon: Number(fields.lon) },
  });
  await show();
  employee.value = fields.employee;
  say(`Stored as row ${id}, sealed.`);
  await show();
});
on($("#search"), "submit", async ({ target }) => {
  const phone = new FormData(target).get("phone");
  const { ids } = await ask("/api/search", { company: company.value, phone });
  found = new Set(ids);
  $("#found").textContent = ids.length ? `${ids.length} row${ids.length === 1 ? "" : "s"}, marked below` : "no row";
  await show();
});
on($("#leave"), "click", async () => {
  await ask("/api/leave", { company: company.value, employee: employee.value });
  say("The employee's rights ended.");
  await show();
});
async function destroyed(path, body) {
  say("Destroying, and waiting until it is erased …");
  const { certificate, verdict } = await ask(path, body);
  const link = document.createElement("a");
  link.href = certificate; link.textContent = "certificate of destruction"; link.download = "certificate.json";
  $("#ended").replaceChildren(link, ` (checked: ${verdict})`);
  say("Destroyed.");
  await show();
}
on($("#erase"), "click", () => destroyed("/api/erase", { company: company.value, employee: employee.value }));
on($("#erase-company"), "click", () => destroyed("/api/erase-company", { company: company.value }));

show().catch(error => say(error.message, true));
