// Uses the generated types: from a tenant to a search, and back. `node calls.js URL`
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

const client = createClient<paths>({ baseUrl: process.argv[2] });
const tenant = "typescript";
const database = "kb";
const collection = "notes";
const place = { path: { tenant, database, collection } };

function need<T>(answer: { data?: T; error?: unknown }): T {
  if (answer.data === undefined) throw new Error(JSON.stringify(answer.error));
  return answer.data;
}

function same(found: unknown, expected: unknown): void {
  if (JSON.stringify(found) !== JSON.stringify(expected)) {
    throw new Error(`${JSON.stringify(found)} is not ${JSON.stringify(expected)}`);
  }
}

const made: components["schemas"]["Tenant"] = need(
  await client.POST("/v1/tenants", { body: { name: "TypeScript", slug: tenant, metadata: { plan: "free" } } }),
);
const createdAt: string = made.created_at;
same(Number.isNaN(Date.parse(createdAt)), false);
need(await client.POST("/v1/tenants/{tenant}/databases", { params: { path: { tenant } }, body: { name: database } }));
need(
  await client.POST("/v1/tenants/{tenant}/databases/{database}/collections", {
    params: { path: { tenant, database } },
    body: { name: collection, embedding_model: "hash" },
  }),
);
const written = need(
  await client.POST("/v1/tenants/{tenant}/databases/{database}/collections/{collection}/documents", {
    params: place,
    body: {
      documents: [
        { id: "a", text: "vectors live in SQL", metadata: { year: 2026 } },
        { id: "b", text: "a fox jumps" },
      ],
    },
  }),
);
same([written.upserted, written.ids, written.truncated, written.without_vector], [2, ["a", "b"], 0, 0]);
const found = need(
  await client.POST("/v1/tenants/{tenant}/databases/{database}/collections/{collection}/search", {
    params: place,
    body: { text: "where do vectors live", top_k: 1, filter: { year: { $gte: 2020 } } },
  }),
);
same(
  found.matches.map((match) => [match.id, match.metadata]),
  [["a", { year: 2026 }]],
);
const page = need(
  await client.GET("/v1/tenants/{tenant}/databases/{database}/collections/{collection}/documents", {
    params: { ...place, query: { limit: 1, include: ["text"] } },
  }),
);
same([page.items.map((item) => item.text), typeof page.next_cursor], [["vectors live in SQL"], "string"]);
const deleted = need(
  await client.POST("/v1/tenants/{tenant}/databases/{database}/collections/{collection}/documents/delete", {
    params: place,
    body: { ids: ["a"] },
  }),
);
same(deleted, { deleted: 1 });
const refused = await client.GET("/v1/tenants/{tenant}", { params: { path: { tenant: "nobody" } } });
const problem: components["schemas"]["Problem"] | undefined = refused.error;
same([refused.response.status, problem?.code, problem?.entity], [404, "not_found", "tenant"]);
need(
  await client.POST("/v1/tenants/{tenant}/suspend", { params: { path: { tenant } }, body: { reason: "a test" } }),
);
const gone = await client.DELETE("/v1/tenants/{tenant}", { params: { path: { tenant } } });
same(gone.response.status, 204);
console.log("done");
