// The page of the HTTP door, made out of /openapi.json: what can be asked, a form to ask it, and events as they happen.
//
// Whatever comes from the server is put in as text, never as markup: jobs' data is written by strangers. The token stays
// in its field and is gone with the page. Nothing is loaded from elsewhere and nothing is kept.
"use strict";

const MAX_EVENTS = 200; // shown at once: more than anybody reads back

const byId = (id) => document.getElementById(id);
const token = () => byId("token").value.trim();

/** An element with attributes and children; strings become text. */
function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** Text with its `code` between backquotes. */
function prose(tag, text) {
  const parts = text.split("`").map((part, place) => (place % 2 ? make("code", {}, part) : part));
  return make(tag, {}, ...parts);
}

// --- schemas ---

const refName = (schema) => schema.$ref.split("/").pop();

/** A schema in words, with links to the types that have a name. */
function typeOf(schema) {
  if (schema.$ref) return [make("a", { href: `#type-${refName(schema)}` }, refName(schema))];
  if (schema.anyOf) return schema.anyOf.flatMap((each, place) => (place ? [" or ", ...typeOf(each)] : typeOf(each)));
  if (schema.oneOf) return [`one of ${schema.oneOf.length} commands`];
  if (schema.enum) return [schema.enum.map((each) => JSON.stringify(each)).join(" | ")];
  if ("const" in schema) return [JSON.stringify(schema.const)];
  if (schema.prefixItems) return ["[", ...schema.prefixItems.flatMap((each) => [...typeOf(each), ", "]).slice(0, -1), "]"];
  if (schema.type === "array") return ["list of ", ...typeOf(schema.items ?? {})];
  const bounds = [
    ["minimum", "from"], ["maximum", "to"], ["minLength", "at least"], ["maxLength", "at most"],
  ].filter(([name]) => name in schema).map(([name, word]) => `${word} ${schema[name]}`);
  const type = schema.type ?? "any JSON";
  return [[type, ...bounds].join(" ")];
}

/** A table of members: name, type, default, meaning. */
function membersTable(members) {
  const rows = members.map(({ name, where, must, schema, text }) =>
    make("tr", {},
      make("td", {}, make("code", must ? { class: "must", title: "must be there" } : {}, name)),
      make("td", {}, where),
      make("td", {}, ...typeOf(schema), "default" in schema ? `, default ${JSON.stringify(schema.default)}` : ""),
      prose("td", text ?? ""),
    ));
  const head = make("tr", {}, ...["member", "in", "type", "meaning"].map((word) => make("th", { scope: "col" }, word)));
  return make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows));
}

function propertiesOf(schema, where) {
  return Object.entries(schema.properties ?? {}).map(([name, each]) => ({
    name, where, must: (schema.required ?? []).includes(name), schema: each, text: each.description,
  }));
}

// --- requests ---

async function ask(method, path, body) {
  const headers = token() ? { Authorization: `Bearer ${token()}` } : {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  return fetch(path, { method, headers, body, credentials: "omit" });
}

/** The path with what stands in the fields; a field that was left empty is left out. */
function filled(path, fields) {
  const query = new URLSearchParams();
  for (const { name, where, input } of fields) {
    if (where === "path") path = path.replace(`{${name}}`, encodeURIComponent(input.value));
    else if (input.value !== "") query.set(name, input.value);
  }
  return query.size ? `${path}?${query}` : path;
}

function tryForm(method, path, operation) {
  const id = operation.operationId;
  const fields = (operation.parameters ?? []).filter((each) => each.in !== "header").map((each) => {
    const value = each.in === "path" ? String(each.example ?? "") : "";
    const input = make("input", { id: `${id}-${each.name}`, autocomplete: "off", value });
    if (each.in === "query" && each.example !== undefined) input.placeholder = String(each.example);
    return { name: each.name, where: each.in, input };
  });
  const content = operation.requestBody?.content["application/json"];
  const body = content && make("textarea", { id: `${id}-body`, spellcheck: "false", "aria-label": "Body" });
  if (body) body.value = JSON.stringify(content.example ?? {}, null, 2);
  const sent = path === "/commands" ? () => JSON.stringify(JSON.parse(body.value)) : () => body.value;
  const status = make("p", { class: "wide", role: "status" });
  const answer = make("pre", { class: "wide", hidden: "", tabindex: "0", "aria-label": "Answer" });
  const form = make("form", { class: "try" });
  for (const { name, input } of fields) form.append(make("label", { for: input.id }, name), input);
  if (body) form.append(body);
  form.append(make("button", { type: "submit" }, `Send ${method.toUpperCase()}`), status, answer);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const risky = method === "delete" || operation["x-flashq-role"] === "admin";
    if (risky && !confirm(`${method.toUpperCase()} ${filled(path, fields)}: really?`)) return;
    status.textContent = "...";
    answer.hidden = true;
    try {
      const response = await ask(method.toUpperCase(), filled(path, fields), body ? sent() : undefined);
      answer.textContent = await response.text();
      answer.hidden = answer.textContent === "";
      status.textContent = `${response.status} ${response.statusText}`;
    } catch (error) {
      status.textContent = `No answer: ${error.message}`;
    }
  });
  return form;
}

/** What an answer holds: its type under `data`, or its kind when it is no envelope. */
function answerOf(operation) {
  const [status, good] = Object.entries(operation.responses).find(([code]) => code < "400");
  const [kind, content] = Object.entries(good.content ?? {})[0] ?? [];
  const members = content?.schema.properties;
  if (!members?.data) return make("p", {}, `${status}${kind ? `, ${kind}` : ""}`);
  const beside = Object.keys(members).filter((name) => name !== "ok" && name !== "data");
  const type = Object.keys(members.data).length ? typeOf(members.data) : ["any JSON"];
  return make("p", {}, `${status}, `, make("code", {}, "data"), ": ", ...type,
    beside.length ? `; beside it ${beside.join(", ")}` : "");
}

const streams = (path) => /^\/(events|ws)(\/|$)/.test(path);

function operationBlock(method, path, operation) {
  const members = (operation.parameters ?? []).map((each) => ({
    name: each.name, where: each.in, must: each.required, schema: each.schema, text: each.description,
  }));
  const body = operation.requestBody?.content["application/json"]?.schema;
  if (body) members.push(...propertiesOf(body, "body"));
  const inside = make("div", {}, prose("p", operation.description));
  if (members.length) inside.append(membersTable(members));
  inside.append(make("h3", {}, "Answer"), answerOf(operation));
  const refusals = Object.keys(operation.responses).filter((code) => code >= "400");
  inside.append(make("p", {}, `May be refused with ${refusals.join(", ")}.`));
  if (!streams(path)) inside.append(make("h3", {}, "Try it"), tryForm(method, path, operation));
  const block = make("details", { id: operation.operationId },
    make("summary", {}, make("b", { class: `method ${method}` }, method.toUpperCase()),
      make("b", { class: "path" }, path), prose("span", operation.summary)),
    inside);
  block.dataset.words = `${method} ${path} ${operation.summary} ${operation["x-flashq-command"] ?? ""}`.toLowerCase();
  return block;
}

// --- the page ---

function show(description) {
  byId("about").replaceChildren(...prose("p", description.info.description).childNodes);
  const sections = new Map(description.tags.map(({ name, description: text }) => [name, { text, blocks: [] }]));
  for (const [path, methods] of Object.entries(description.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      sections.get(operation.tags[0]).blocks.push(operationBlock(method, path, operation));
    }
  }
  const contents = [];
  const all = [];
  for (const [name, { text, blocks }] of sections) {
    all.push(make("section", {}, make("h2", {}, name), prose("p", text), ...blocks));
    const links = blocks.map((block) => {
      const [method, path] = block.querySelector("summary").children;
      const link = make("a", { href: `#${block.id}` }, method.cloneNode(true), path.textContent);
      return make("li", {}, link);
    });
    contents.push(make("h3", {}, name), make("ul", {}, ...links));
  }
  byId("operations").replaceChildren(...all);
  byId("contents").replaceChildren(...contents);
  showTypes(description.components.schemas);
  openTarget();
}

function showTypes(schemas) {
  const blocks = Object.entries(schemas).filter(([, schema]) => schema.properties).map(([name, schema]) =>
    make("details", { id: `type-${name}` },
      make("summary", {}, make("b", { class: "path" }, name), prose("span", schema.description ?? "")),
      make("div", {}, membersTable(propertiesOf(schema, "")))));
  byId("types").replaceChildren(make("h2", {}, "Types"), ...blocks);
  byId("types").hidden = false;
}

/** Open what the address points at. */
function openTarget() {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target instanceof HTMLDetailsElement) {
    target.open = true;
    target.scrollIntoView();
  }
}

function filter() {
  const words = byId("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const link of byId("contents").querySelectorAll("li")) {
    const block = document.getElementById(link.firstChild.hash.slice(1));
    block.hidden = link.hidden = !words.every((word) => block.dataset.words.includes(word));
  }
}

async function load() {
  const notice = byId("notice");
  let response;
  try {
    response = await ask("GET", "/openapi.json");
  } catch (error) {
    notice.textContent = `The server does not answer: ${error.message}`;
    return;
  }
  if (response.ok) {
    show(await response.json());
    notice.textContent = "";
  } else {
    const refused = await response.json();
    notice.textContent = response.status === 401 ? "This server asks for a token." : refused.error;
  }
}

// --- events ---

let source = null;

function tell(text) {
  const list = byId("events");
  list.prepend(make("li", {}, text));
  while (list.childElementCount > MAX_EVENTS) list.lastElementChild.remove();
}

function hush(why) {
  source?.close();
  source = null;
  byId("listen-button").textContent = "Listen";
  byId("listen-state").textContent = why;
}

function listen() {
  const query = new URLSearchParams();
  const queue = byId("listen-queue").value.trim();
  const types = byId("listen-types").value.trim();
  if (types) query.set("types", types);
  if (token()) query.set("token", token()); // a browser cannot send it as a header here
  source = new EventSource(`/events${queue ? `/${encodeURIComponent(queue)}` : ""}${query.size ? `?${query}` : ""}`);
  byId("listen-button").textContent = "Stop";
  byId("listen-state").textContent = "connecting";
  source.onopen = () => { byId("listen-state").textContent = "listening"; };
  source.onerror = () => {
    if (source.readyState === EventSource.CLOSED) hush("refused");
    else byId("listen-state").textContent = "connecting again";
  };
  for (const type of ["pushed", "active", "completed", "failed", "retrying", "progress", "timeout", "expired", "cancelled"]) {
    source.addEventListener(type, (event) => tell(event.data));
  }
  source.addEventListener("lagged", () => tell("some events were left out: they came faster than they were read"));
}

byId("access").addEventListener("submit", (event) => { event.preventDefault(); load(); });
byId("listen").addEventListener("submit", (event) => { event.preventDefault(); source ? hush("") : listen(); });
byId("filter").addEventListener("input", filter);
addEventListener("hashchange", openTarget);
load();
