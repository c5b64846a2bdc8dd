// The same steps as main.ts, with the functions that @hey-api/openapi-ts generates from the operation ids.
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { client } from "./client/client.gen.ts";
import * as campshub from "./client/index.ts";

const state = JSON.parse(readFileSync(process.env.STATE ?? ".devstack/state.json", "utf8"));
client.setConfig({ baseUrl: state.base_url });

const { email, password } = state.demo;
const signIn = await campshub.signIn({ body: { email, password }, throwOnError: true });
client.setConfig({ auth: signIn.data.access_token });

const me = await campshub.getMe({ throwOnError: true });
const page = await campshub.listStudents({ query: { limit: 3 }, throwOnError: true });
console.log("me", me.data.role, "students", page.data.items.length, page.data.has_more);

const id = randomUUID();
const body = { id, code: `H-${id.slice(0, 8)}`, given_name: "Ada", family_name: "Client", guardians: [{ name: "Eve" }] };
const made = await campshub.createStudent({ body, throwOnError: true });
const headers = { "If-Match": made.response.headers.get("etag") ?? "" };
const { status, guardians } = made.data;
const patched = await campshub.updateStudent({ path: { student_id: id }, headers, body: { status, guardians } });
console.log("created", made.response.status, made.data.guardians[0].name, "patched", patched.response?.status);

const clash = await campshub.createStudent({ body: { ...body, id: randomUUID() } });
console.log("refused", clash.error?.code);

const [first] = page.data.items;
const exercises = await campshub.listExercises({ query: { q: "squat", limit: 1 }, throwOnError: true });
const [exercise] = exercises.data.items;
const log = await campshub.createWorkoutLog({
  body: {
    student_id: first.id,
    started_at: new Date().toISOString(),
    exercises: [{ exercise_id: exercise.id, sets: [{ reps: 5, load: "225", load_unit: "lb" }] }],
  },
  throwOnError: true,
});
const [logged] = log.data.exercises;
console.log("set", logged.sets[0].load, logged.sets[0].load_unit);
