using System.Buffers;
using System.Security.Cryptography;
using System.Text.Json;

namespace OrleansCluster.Storage;

/// <summary>Writes an export; <see cref="StoreFile"/> tells the form.</summary>
public static class StoreFileWriter
{
    /// <summary>Bytes gathered before they are handed to the stream.</summary>
    private const int FlushAt = 64 << 10;

    private static readonly JsonEncodedText Key = JsonEncodedText.Encode("key");
    private static readonly JsonEncodedText Revision = JsonEncodedText.Encode("revision");
    private static readonly JsonEncodedText Claims = JsonEncodedText.Encode("claims");
    private static readonly JsonEncodedText Value = JsonEncodedText.Encode("value");

    /// <summary>Writes records as they come; memory holds one at a time.</summary>
    /// <param name="output">Where to; it is flushed, not closed.</param>
    /// <param name="records">A store's content in the order of <see cref="IStoreTransfer.ReadAllAsync"/>.</param>
    /// <param name="onProgress">Told the number of objects now and then, or null.</param>
    /// <param name="cancellationToken">Ends the writing; what is written then has no trailer and will be refused.</param>
    public static async Task<StoreFileSummary> WriteAsync(
        Stream output, IAsyncEnumerable<StoreRecord> records, Action<long>? onProgress, CancellationToken cancellationToken)
    {
        var buffer = new ArrayBufferWriter<byte>(FlushAt * 2);
        await using var json = new Utf8JsonWriter(buffer, new JsonWriterOptions { SkipValidation = true, MaxDepth = StoreFile.MaxDepth + 8 });
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        HeaderRecord? header = null;
        var resources = 0;
        long objects = 0, fences = 0, queueItems = 0, bytes = 0;
        await foreach (var record in records.WithCancellation(cancellationToken))
        {
            json.WriteStartObject();
            switch (record)
            {
                case HeaderRecord first:
                    header = first;
                    json.WriteString("format", StoreFile.Format);
                    json.WriteNumber("version", StoreFile.Version);
                    json.WriteString("time", first.Time);
                    json.WriteString("source", first.Source);
                    json.WriteStartArray("resources");
                    foreach (var resource in first.Resources)
                        json.WriteStringValue(resource);
                    json.WriteEndArray();
                    break;
                case ResourceRecord resource:
                    resources++;
                    json.WriteString("resource", resource.Resource);
                    json.WriteNumber(Revision, resource.Revision);
                    break;
                case ObjectRecord item:
                    objects++;
                    WriteObject(json, item);
                    break;
                case FenceRecord fence:
                    fences++;
                    json.WriteString("fence", fence.Name);
                    json.WriteNumber(Value, fence.Value);
                    break;
                case QueueRecord item:
                    queueItems++;
                    json.WriteString("queue", item.Queue);
                    json.WriteString(Key, item.Key);
                    json.WriteNumber("priority", item.Priority);
                    json.WriteString("enqueuedAt", item.EnqueuedAt.UtcDateTime);
                    break;
                default:
                    throw new ArgumentException($"{record.GetType().Name} has no line.", nameof(records));
            }
            EndLine(json, buffer);
            if (buffer.WrittenCount >= FlushAt)
                await FlushAsync();
            if (record is ObjectRecord && objects % 1024 == 0)
                onProgress?.Invoke(objects);
        }
        await FlushAsync();

        json.WriteStartObject();
        json.WriteBoolean("end", true);
        json.WriteNumber("resources", resources);
        json.WriteNumber("objects", objects);
        json.WriteNumber("fences", fences);
        json.WriteNumber("queueItems", queueItems);
        json.WriteString("sha256", Convert.ToHexStringLower(hash.GetHashAndReset()));
        EndLine(json, buffer);
        bytes += buffer.WrittenCount;
        await output.WriteAsync(buffer.WrittenMemory, cancellationToken);
        await output.FlushAsync(cancellationToken);
        return new StoreFileSummary(
            header ?? throw new ArgumentException("The records have no header.", nameof(records)), resources, objects, fences, queueItems, bytes);

        async ValueTask FlushAsync()
        {
            hash.AppendData(buffer.WrittenSpan);
            bytes += buffer.WrittenCount;
            await output.WriteAsync(buffer.WrittenMemory, cancellationToken);
            buffer.ResetWrittenCount();
        }
    }

    private static void WriteObject(Utf8JsonWriter json, ObjectRecord item)
    {
        json.WriteString(Key, item.Key);
        json.WriteNumber(Revision, item.Revision);
        if (item.Claims.Count > 0)
        {
            json.WriteStartArray(Claims);
            foreach (var claim in item.Claims)
                json.WriteStringValue(claim);
            json.WriteEndArray();
        }
        if (IsOneLineOfJson(item.Value))
        {
            json.WritePropertyName(Value);
            json.WriteRawValue(item.Value, skipInputValidation: true);
        }
        else
        {
            json.WriteBase64String("base64", item.Value);
        }
    }

    private static void EndLine(Utf8JsonWriter json, ArrayBufferWriter<byte> buffer)
    {
        json.WriteEndObject();
        json.Flush();
        json.Reset();
        buffer.Write("\n"u8);
    }

    // What comes out of the reader must be these very bytes: one object, nothing around it, and no line break (which would also be the line's).
    private static bool IsOneLineOfJson(ReadOnlySpan<byte> value)
    {
        if (value.IsEmpty || value[0] != (byte)'{' || value[^1] != (byte)'}' || value.ContainsAny((byte)'\n', (byte)'\r'))
            return false;
        try
        {
            var reader = new Utf8JsonReader(value, new JsonReaderOptions { MaxDepth = StoreFile.MaxDepth });
            while (reader.Read())
            {
                // Text that is no UTF-8 passes the reader unless it is asked for.
                if (reader.TokenType is JsonTokenType.String or JsonTokenType.PropertyName && !System.Text.Unicode.Utf8.IsValid(reader.ValueSpan))
                    return false;
            }
            return true;
        }
        catch (JsonException)
        {
            return false;
        }
    }
}
