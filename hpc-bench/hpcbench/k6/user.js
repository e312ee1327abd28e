// Users of S3 in one task: every operation of the plan once, signed with AWS Signature Version 4, each told in one line.
// Environment: RUN, TASK, WORK (a JSON file: endpoint, region, users, executor).
import http from 'k6/http';
import crypto from 'k6/crypto';
import exec from 'k6/execution';
import { check } from 'k6';
import { SharedArray } from 'k6/data';

const work = JSON.parse(open(__ENV.WORK));
const ordered = work.executor.executor === 'per-vu-iterations';
// Users who work in order have a lane each. The others share one, of which every operation is an element of its own:
// k6 decodes an element each time it is read.
const shared = new SharedArray('operations', () => {
  const lanes = JSON.parse(open(`${__ENV.RUN}/operations/${__ENV.TASK}.json`));
  return ordered ? lanes : lanes[0];
});
const base = open(`${__ENV.RUN}/base.txt`);
const host = work.endpoint.replace(/^https?:\/\//, '');
const HEADER_BYTES = 16;
const STRIDE = 7919;
const PART_BYTES = 5 << 20; // the smallest part that S3 takes, but for the last

export const options = {
  scenarios: { users: work.executor },
  thresholds: { checks: ['rate==1'], http_req_failed: ['rate==0'], 'http_req_duration{name:put}': ['p(99)<30000'] },
  summaryTrendStats: ['avg', 'med', 'p(95)', 'p(99)', 'max', 'count'],
  noConnectionReuse: false,
};

export default function () {
  if (ordered) {
    shared[exec.vu.idInTest - 1].forEach(carryOut);
    return;
  }
  if (exec.scenario.iterationInTest < shared.length) carryOut(shared[exec.scenario.iterationInTest]);
}

function carryOut(operation) {
  const [number, bucket, key, kind, size, user] = operation;
  const start = Date.now() / 1000;
  const answer = { put, multipart, delete: remove, list }[kind](work.users[user], bucket, key, number, size);
  // k6 was told to end and has broken off the request; of most such operations nothing is heard at all.
  if (answer.error === 'context canceled') return;
  const ok = answer.status >= 200 && answer.status < 300;
  check(answer, { done: () => ok }, { kind });
  const etag = String(answer.etag || (answer.headers && answer.headers.Etag) || '').replace(/"/g, '');
  console.log(JSON.stringify({
    k: 'op', op: number, task: Number(__ENV.TASK), bucket, key, kind, size, etag, start, end: Date.now() / 1000, status: answer.status,
    ...(ok ? {} : { why: answer.error || String(answer.body).slice(0, 200) }),
  }));
}

// The same as content() in content.py.
function content(number, size) {
  const body = Math.max(0, size - HEADER_BYTES);
  const offset = (number * STRIDE) % base.length;
  let text = base.slice(offset, offset + body);
  while (text.length < body) text += base.slice(0, body - text.length);
  return String(number).padStart(15, '0') + '\n' + text;
}

function put(user, bucket, key, number, size) {
  return ask(user, 'PUT', bucket, key, '', content(number, size));
}

function remove(user, bucket, key) {
  return ask(user, 'DELETE', bucket, key, '', '');
}

function list(user, bucket, key) {
  return ask(user, 'GET', bucket, '', `list-type=2&max-keys=1000&prefix=${encodeURIComponent(key)}`, '');
}

function multipart(user, bucket, key, number, size) {
  const begun = ask(user, 'POST', bucket, key, 'uploads=', '');
  if (begun.status !== 200) return begun;
  const id = encodeURIComponent((/<UploadId>([^<]+)/.exec(begun.body) || ['', ''])[1]);
  const all = content(number, size);
  let parts = '';
  for (let part = 1, at = 0; at < all.length; part += 1, at += PART_BYTES) {
    const answer = ask(user, 'PUT', bucket, key, `partNumber=${part}&uploadId=${id}`, all.slice(at, at + PART_BYTES));
    if (answer.status !== 200) return answer;
    parts += `<Part><PartNumber>${part}</PartNumber><ETag>${answer.headers.Etag}</ETag></Part>`;
  }
  const whole = `<CompleteMultipartUpload>${parts}</CompleteMultipartUpload>`;
  const answer = ask(user, 'POST', bucket, key, `uploadId=${id}`, whole);
  return { status: answer.status, etag: (/<ETag>(?:&quot;|")?([0-9a-f-]+)/.exec(answer.body) || ['', ''])[1] };
}

function ask(user, method, bucket, key, query, body) {
  const path = key ? `/${bucket}/${key}` : `/${bucket}`;
  const hash = crypto.sha256(body, 'hex');
  const stamp = new Date().toISOString().replace(/[-:]|\.\d{3}/g, '');
  const day = stamp.slice(0, 8);
  const scope = `${day}/${work.region}/s3/aws4_request`;
  const names = 'host;x-amz-content-sha256;x-amz-date';
  const canonical = `${method}\n${path}\n${query}\nhost:${host}\nx-amz-content-sha256:${hash}\nx-amz-date:${stamp}\n\n${names}\n${hash}`;
  const text = `AWS4-HMAC-SHA256\n${stamp}\n${scope}\n${crypto.sha256(canonical, 'hex')}`;
  const key4 = ['s3', 'aws4_request'].reduce(
    (secret, part) => crypto.hmac('sha256', secret, part, 'binary'), regionKey(user.secret_key, day));
  const signature = crypto.hmac('sha256', key4, text, 'hex');
  return http.request(method, `${work.endpoint}${path}${query ? `?${query}` : ''}`, body, {
    headers: {
      'x-amz-date': stamp,
      'x-amz-content-sha256': hash,
      Authorization: `AWS4-HMAC-SHA256 Credential=${user.access_key}/${scope}, SignedHeaders=${names}, Signature=${signature}`,
    },
    tags: { name: query && method !== 'GET' ? 'multipart' : method.toLowerCase() },
    timeout: '60s',
  });
}

function regionKey(secret, day) {
  return [day, work.region].reduce((known, part) => crypto.hmac('sha256', known, part, 'binary'), 'AWS4' + secret);
}

export function handleSummary(data) {
  return { [`${__ENV.RUN}/k6/${__ENV.TASK}.json`]: JSON.stringify(data, null, 1) };
}
