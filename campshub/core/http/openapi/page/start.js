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

const OperationSummary = (Original, { React, specSelectors }) => (props) => {
  const [path, method] = [props.operationProps.get("path"), props.operationProps.get("method")];
  const needed = specSelectors.specJson().getIn(["paths", path, method, "x-permission"]) ?? "no sign-in";
  return React.createElement(
    "div",
    { className: "operation-row" },
    React.createElement(Original, props),
    React.createElement("code", { className: "permission", title: "the permission that it needs" }, needed),
  );
};

SwaggerUIBundle({
  url: "/api/openapi.json",
  dom_id: "#api",
  deepLinking: true,
  docExpansion: "list",
  defaultModelsExpandDepth: -1,
  displayRequestDuration: true,
  filter: true,
  persistAuthorization: true,
  validatorUrl: null,
  plugins: [
    {
      fn: { opsFilter },
      wrapComponents: { OperationSummary },
    },
  ],
  onComplete: () => {
    const field = document.querySelector(".operation-filter-input");
    field?.setAttribute("placeholder", "Search operations: students, createStudent, students:write, /roster/");
    field?.setAttribute("aria-label", "Search operations");
  },
});

// Swagger UI opens the links of the introduction in a new tab, but this one leads to the search field on this page.
document.addEventListener("click", (event) => {
  if (!event.target.closest('a[href="#operations"]')) return;
  event.preventDefault();
  event.stopPropagation(); // the library's own listener would put the link into the address
  const field = document.querySelector(".operation-filter-input");
  field?.scrollIntoView();
  field?.focus();
});
