/**
 * What is used of the SDK, and the only place that imports it: loaded when a bucket is opened, and a file of its own in a
 * build (`coordinator-s3.js`).
 */
export { DeleteObjectCommand, GetObjectCommand, PutObjectCommand, S3Client } from '@aws-sdk/client-s3'
