// The page at /docs/: Swagger UI, with a search over operations and the permission beside each of them.
const text = (found) => {
  const operation = found.get("operation");
  const words = [found.get("method"), found.get("path")];
  for (const name of ["summary", "operationId", "x-permission"]) words.push(operation.get(name) ?? "");
  return words.join(" ").toLowerCase();
};

// Of each group, what matches; of a group whose name matches, all.
const opsFilter = (groups, phrase) => {
  const wanted = phrase.trim().toLowerCase();
  return groups
    .map((group, name) =>
      name.toLowerCase().includes(wanted)
        ? group
        : group.update("operations", (found) => found.filter((one) => text(one).includes(wanted))))
    .filter((group) => group.get("operations").size > 0);
};

// While something is searched for, groups are open.
const isShown = (original, system) => (state, thing, fallback) => {
  const phrase = system.layoutSelectors.currentFilter();
  const searching = typeof phrase === "string" && phrase.trim() !== "" && phrase !== "true";
  return searching && thing[0] === "operations-tag" ? true : original(state, thing, fallback);
};

const OperationSummary = (Original, { React }) => (props) => {
  const needed = props.operationProps.getIn(["op", "x-permission"]) ?? "public";
  return React.createElement(
    "div",
    { className: "operation-row" },
    React.createElement(Original, props),
    React.createElement("code", { className: "permission", title: "the permission that it needs" }, needed),
  );
};

window.ui = SwaggerUIBundle({
  url: "/api/openapi.json",
  dom_id: "#api",
  deepLinking: true,
  docExpansion: "none",
  defaultModelsExpandDepth: 0,
  defaultModelRendering: "example",
  displayRequestDuration: true,
  filter: true,
  persistAuthorization: true,
  validatorUrl: null,
  plugins: [
    {
      fn: { opsFilter },
      statePlugins: { layout: { wrapSelectors: { isShown } } },
      wrapComponents: { OperationSummary },
    },
  ],
  onComplete: () => {
    const field = document.querySelector(".operation-filter-input");
    field?.setAttribute("placeholder", "Search operations: students, createStudent, students:write, /roster/");
    field?.setAttribute("aria-label", "Search operations");
  },
});
