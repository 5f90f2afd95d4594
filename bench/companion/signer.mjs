// The URLs of N parts as Companion's batch route makes them (lib/server/controllers/s3.js, batchSignPartsUpload), with its own
// client and without its HTTP server. For each line `N` on stdin one line {seconds, url}: CPU-seconds taken, the last URL.
import readline from 'node:readline'
import { UploadPartCommand } from '@aws-sdk/client-s3'
import { getSignedUrl } from '@aws-sdk/s3-request-presigner'
import s3Client from './node_modules/@uppy/companion/lib/server/s3-client.js'

const [endpoint, region, bucket, key, uploadId, expires] = process.argv.slice(2)
const client = s3Client({ s3: { key: 'AKIDEXAMPLE', secret: 'secret', bucket, region, endpoint, forcePathStyle: true } })

for await (const line of readline.createInterface({ input: process.stdin })) {
  const numbers = Array.from({ length: Number(line) }, (_, index) => index + 1)
  const before = process.cpuUsage()
  const urls = await Promise.all(numbers.map((number) => getSignedUrl(
    client,
    new UploadPartCommand({ Bucket: bucket, Key: key, UploadId: uploadId, PartNumber: number, Body: '' }),
    { expiresIn: Number(expires) },
  )))
  const { user, system } = process.cpuUsage(before)
  console.log(JSON.stringify({ seconds: (user + system) / 1e6, url: urls.at(-1) }))
}
