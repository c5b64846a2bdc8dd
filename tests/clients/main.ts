// A client as a web developer would first write it: sign in, page, create twice, change, mark, log a workout, report.
// It is compiled against the types that openapi-typescript generates, without a cast, a `!` or its own types.
import createClient, { type Middleware } from "openapi-fetch";
import { randomUUID } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import type { paths, components } from "./schema";

type Student = components["schemas"]["Student"];
type Problem = components["schemas"]["Problem"];
const state = JSON.parse(readFileSync(process.env.STATE ?? ".devstack/state.json", "utf8"));
const api = createClient<paths>({ baseUrl: state.base_url });

function ok<T>(answer: { data?: T; error?: Problem }): T {
  if (answer.error) throw new Error(`${answer.error.code}: ${answer.error.detail}`);
  if (answer.data === undefined) throw new Error("nothing came back");
  return answer.data;
}

const { email, password } = state.demo;
const signIn = await api.POST("/api/auth/token/", { body: { email, password } });
if (signIn.error) throw new Error(signIn.error.detail);
const auth: Middleware = {
  onRequest({ request }) {
    request.headers.set("Authorization", `Bearer ${signIn.data.access_token}`);
  },
};
api.use(auth);

// page through all students
const ids: string[] = [];
let cursor = "";
do {
  const query = { limit: 20, cursor: cursor || undefined };
  const page = ok(await api.GET("/api/students/", { params: { query } }));
  for (const student of page.items) ids.push(student.id);
  cursor = page.next_cursor ?? "";
} while (cursor);
console.log("students", ids.length, new Set(ids).size);

// create twice with a client id
const id = randomUUID();
const body = { id, code: `C-${id.slice(0, 8)}`, given_name: "Ada", family_name: "Client", address: { locality: "Pune" } };
const one = await api.POST("/api/students/", { body });
const two = await api.POST("/api/students/", { body });
const made: Student = ok(one);
console.log("created", one.response.status, two.response.status, made.address?.locality, made.status);

// a refusal is identified by its code
const clash = await api.POST("/api/students/", { body: { ...body, id: randomUUID() } });
if (clash.response.status === 409) console.log("refused", clash.error?.code);

// PATCH with the result of a GET, with If-Match
const etag = one.response.headers.get("etag");
if (!etag) throw new Error("a student has an ETag");
const patched = await api.PATCH("/api/students/{student_id}/", {
  params: { path: { student_id: id }, header: { "If-Match": etag } },
  body: { status: made.status, address: made.address, guardians: made.guardians },
});
console.log("patched", patched.response.status);

// register
const [group] = ok(await api.GET("/api/groups/", { params: { query: { limit: 1 } } })).items;
const roster = await api.GET("/api/groups/{group_id}/roster/", {
  params: { path: { group_id: group.id }, query: { limit: 2 } },
});
const [a, b] = ok(roster).items;
const session = await api.POST("/api/attendance/sessions/", {
  body: { group_id: group.id, local_date: new Date().toISOString().slice(0, 10), slot: `ts ${Date.now()}` },
});
const marks = await api.PUT("/api/attendance/sessions/{session_id}/records/", {
  params: { path: { session_id: ok(session).id } },
  body: { records: [{ student_id: a.id, code: "absent" }, { student_id: b.id, code: "late" }], rest: "present" },
});
console.log("marked", ok(marks).summary.error, ok(marks).results[0].outcome);

// workout
const [exercise] = ok(await api.GET("/api/exercises/", { params: { query: { q: "squat", limit: 1 } } })).items;
const log = await api.POST("/api/workout-logs/", {
  body: {
    student_id: a.id,
    started_at: new Date().toISOString(),
    time_zone: "Asia/Kolkata",
    exercises: [{ exercise_id: exercise.id, sets: [{ reps: 5, load: "225", load_unit: "lb" }] }],
  },
});
const { id: logId, exercises: logged } = ok(log);
const set = await api.POST("/api/workout-logs/{log_id}/sets/", {
  params: { path: { log_id: logId } },
  body: { log_exercise_id: logged[0].id, reps: 4, load: "225", load_unit: "lb" },
});
console.log("set", set.response.status, set.data?.load_unit);

// report
const kind = "attendance_register";
const ordered = await api.POST("/api/reports/", {
  body: { kind, format: "pdf", parameters: { group_id: group.id, period: "this_month" } },
});
const reportId = ok(ordered).id;
const look = async () => ok(await api.GET("/api/reports/{report_id}/", { params: { path: { report_id: reportId } } }));
let report = await look();
for (let i = 0; i < 200 && report.state !== "ready"; i++) {
  await new Promise((wake) => setTimeout(wake, 300));
  report = await look();
}
const job = ok(await api.GET("/api/jobs/{job_id}/", { params: { path: { job_id: report.job_id } } }));
if (!report.download) throw new Error(`the report is ${report.state}`);
const file = await fetch(new URL(report.download.url, state.base_url));
const bytes = new Uint8Array(await file.arrayBuffer());
writeFileSync("report.pdf", bytes);
console.log("report", report.parameters.group_id === group.id, job.result?.report_id === reportId);
console.log("file", new TextDecoder().decode(bytes.slice(0, 5)));

// audit
const entity = "students";
const [change] = ok(await api.GET("/api/audit/", { params: { query: { entity, entity_id: id, limit: 1 } } })).items;
console.log("audit", change.entity, typeof change.after);
