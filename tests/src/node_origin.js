// Answers each request with what it saw of it, and writes the same to a log, a line each.
'use strict';

const fs = require('node:fs');
const http = require('node:http');

const [portFile, logFile] = process.argv.slice(2);
const log = fs.openSync(logFile, 'a');
const say = (entry) => fs.writeSync(log, `${JSON.stringify(entry)}\n`);

const settings = {
  insecureHTTPParser: true,
  requireHostHeader: false,
  maxHeaderSize: 1 << 18,
  keepAliveTimeout: 0,
  headersTimeout: 0,
  requestTimeout: 0,
};

const server = http.createServer(settings, (request, response) => {
  const { method, url: target } = request;
  const marker = request.headers['x-marker'] ?? '-';
  const parts = [];
  const tell = (extent) => {
    const body = Buffer.concat(parts).toString('latin1');
    say({ method, target, marker, fields: request.rawHeaders, body, extent });
  };
  request.on('data', (part) => parts.push(part));
  request.on('error', () => {});
  request.on('close', () => {
    if (!request.complete) tell('cut');
  });
  request.on('end', () => {
    tell('whole');
    const seen = `${method} ${target} ${marker}`;
    const status = /^\/status\/(\d{3})$/.exec(target)?.[1];
    response.writeHead(Number(status ?? 200), { 'x-seen': seen });
    response.end(`${seen}\n`);
  });
});

server.on('clientError', (error, socket) => {
  // An end in the middle is told by the request itself, if there was one.
  if (error.code !== 'HPE_INVALID_EOF_STATE' && error.code !== 'ECONNRESET') {
    say({ method: '', target: '', marker: '-', body: '', extent: 'malformed', reason: error.code });
  }
  if (socket.writable) socket.end('HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n');
});

server.listen(0, '127.0.0.1', () => {
  fs.writeFileSync(`${portFile}.new`, String(server.address().port));
  fs.renameSync(`${portFile}.new`, portFile);
});
