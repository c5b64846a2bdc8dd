// For @hey-api/openapi-ts: a client on fetch, in files that Node.js runs as they are.
export default {
  input: "openapi.json",
  output: { path: "client", importFileExtension: ".ts" },
  plugins: ["@hey-api/client-fetch", "@hey-api/typescript", "@hey-api/sdk"],
};
