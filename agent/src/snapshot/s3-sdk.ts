/**
 * What is used of the SDK, and the only place that imports it: loaded when a store in S3 is opened, and a file of its
 * own in a build (`agent-s3.js`), so that other agents do not pay its memory.
 */
export {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  ListMultipartUploadsCommand,
  PutObjectCommand,
  paginateListObjectsV2,
  S3Client,
  UploadPartCommand,
} from '@aws-sdk/client-s3'
