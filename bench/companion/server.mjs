// @uppy/companion on its own, its S3 routes alone, against the store in STORE. Prints its port when it listens.
import http from 'node:http'
import * as companion from '@uppy/companion'
import express from 'express'

const { app } = companion.app({
  secret: 'a secret for benches alone',
  filePath: '/tmp',
  server: { host: '127.0.0.1', protocol: 'http' },
  s3: {
    key: 'standin', secret: 'standin-secret', bucket: 'companion', region: 'us-east-1',
    endpoint: process.env.STORE, forcePathStyle: true, expires: 1200,
    getKey: ({ filename }) => `${crypto.randomUUID()}-${filename}`,
  },
  uploadUrls: [process.env.STORE], corsOrigins: true, metrics: false, enableUrlEndpoint: false,
})
const outer = express()
outer.use(app)
const server = http.createServer(outer)
server.keepAliveTimeout = 60_000
server.listen(0, '127.0.0.1', () => console.log(JSON.stringify({ port: server.address().port })))
process.on('SIGTERM', () => process.exit(0))
