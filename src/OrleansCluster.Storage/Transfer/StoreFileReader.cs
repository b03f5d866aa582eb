using System.Buffers;
using System.IO.Pipelines;
using System.Runtime.CompilerServices;
using System.Security.Cryptography;
using System.Text.Json;

namespace OrleansCluster.Storage;

/// <summary>
/// Reads an export and believes nothing: <see cref="StoreFile"/> tells the form. Only when the enumeration has ended by itself has the trailer been
/// seen to agree with all that came before, so an import reads a file once with <see cref="VerifyAsync"/> before it writes anything.
/// Memory holds one line and the keys of one resource.
/// </summary>
public static class StoreFileReader
{
    /// <summary>Reads a whole export and throws its records away.</summary>
    /// <exception cref="InvalidDataException">It is cut, altered, contradicts itself, or is no export of a version that this program reads.</exception>
    public static async Task<StoreFileSummary> VerifyAsync(Stream input, CancellationToken cancellationToken)
    {
        var state = new State();
        await foreach (var _ in ReadAsync(input, state, cancellationToken))
        {
            // The state counts.
        }
        return state.Summary();
    }

    /// <summary>The records of an export as they come.</summary>
    /// <exception cref="InvalidDataException">As for <see cref="VerifyAsync"/>; the records so far are then worth nothing.</exception>
    public static IAsyncEnumerable<StoreRecord> ReadAsync(Stream input, CancellationToken cancellationToken) =>
        ReadAsync(input, new State(), cancellationToken);

    private static async IAsyncEnumerable<StoreRecord> ReadAsync(Stream input, State state, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        var pipe = PipeReader.Create(input, new StreamPipeReaderOptions(bufferSize: 64 << 10, leaveOpen: true));
        try
        {
            while (true)
            {
                var result = await ReadPipeAsync(pipe, cancellationToken);
                var rest = result.Buffer;
                while (rest.PositionOf((byte)'\n') is { } end)
                {
                    var line = rest.Slice(0, end);
                    rest = rest.Slice(rest.GetPosition(1, end));
                    if (state.Take(line) is { } record)
                        yield return record;
                }
                if (rest.Length > StoreFile.MaxLine)
                    throw state.Broken("it is longer than any line of an export");
                if (result.IsCompleted)
                {
                    state.Finish(rest.Length);
                    yield break;
                }
                pipe.AdvanceTo(rest.Start, rest.End);
            }
        }
        finally
        {
            await pipe.CompleteAsync();
        }
    }

    private static async ValueTask<ReadResult> ReadPipeAsync(PipeReader pipe, CancellationToken cancellationToken)
    {
        try
        {
            return await pipe.ReadAsync(cancellationToken);
        }
        catch (Exception e) when (e is InvalidDataException or EndOfStreamException or NotSupportedException)
        {
            throw new InvalidDataException($"The file is damaged: {e.Message}", e); // By the decompression.
        }
    }

    /// <summary>What has been seen of a file.</summary>
    private sealed class State : IDisposable
    {
        private readonly IncrementalHash _hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        private readonly HashSet<string> _keys = new(StringComparer.Ordinal);
        private readonly HashSet<long> _revisions = [];
        private readonly HashSet<string> _claims = new(StringComparer.Ordinal);
        private readonly HashSet<string> _fences = new(StringComparer.Ordinal);
        private readonly HashSet<(string Queue, string Key)> _queued = [];
        private HeaderRecord? _header;
        private ResourceRecord? _resource;
        private int _resources;
        private long _objects;
        private long _fenceCount;
        private long _queueItems;
        private long _bytes;
        private long _lines;
        private bool _ended;

        public StoreFileSummary Summary() => new(_header!, _resources, _objects, _fenceCount, _queueItems, _bytes);

        public InvalidDataException Broken(string why, Exception? inner = null) => new($"Line {_lines} is refused: {why}.", inner);

        public void Dispose() => _hash.Dispose();

        /// <summary>Takes a line without its end. Null for the trailer.</summary>
        public StoreRecord? Take(in ReadOnlySequence<byte> line)
        {
            _lines++;
            _bytes += line.Length + 1;
            if (_ended)
                throw Broken("it comes after the trailer");
            if (line.Length > StoreFile.MaxLine)
                throw Broken("it is longer than any line of an export");
            var text = line.IsSingleSegment ? line.FirstSpan : line.ToArray();
            StoreRecord? record;
            try
            {
                record = Parse(text);
            }
            catch (Exception e) when (e is JsonException or InvalidOperationException or FormatException)
            {
                throw Broken(_lines == 1 ? "this is no export of a store" : "it is no line of an export", e);
            }
            _hash.AppendData(text);
            _hash.AppendData("\n"u8);
            return record;
        }

        public void Finish(long rest)
        {
            if (_lines == 0 && rest == 0)
                throw new InvalidDataException("The file is empty.");
            if (!_ended || rest > 0)
                throw new InvalidDataException($"The file is cut: after line {_lines} the trailer is missing.");
        }

        private StoreRecord? Parse(ReadOnlySpan<byte> line)
        {
            var reader = new Utf8JsonReader(line, new JsonReaderOptions { MaxDepth = StoreFile.MaxDepth + 8 });
            if (!reader.Read() || reader.TokenType != JsonTokenType.StartObject || !reader.Read() || reader.TokenType != JsonTokenType.PropertyName)
                throw new JsonException("Not an object with members.");
            var kind = reader.GetString()!;
            if (_lines == 1 != kind is "format")
                throw Broken(_lines == 1 ? "this is no export of a store" : "a header comes once, and first");
            return kind switch
            {
                "format" => ParseHeader(ref reader),
                "resource" => ParseResource(ref reader),
                "key" => ParseObject(ref reader, line),
                "fence" => ParseFence(ref reader),
                "queue" => ParseQueueItem(ref reader),
                "end" => ParseTrailer(ref reader),
                _ => throw Broken($"'{kind}' is no kind of line that this program knows"),
            };
        }

        private HeaderRecord ParseHeader(ref Utf8JsonReader reader)
        {
            var format = "";
            long version = 0;
            DateTimeOffset time = default;
            string? source = null;
            List<string>? resources = null;
            do
            {
                switch (Member(ref reader))
                {
                    case "format":
                        format = reader.GetString();
                        break;
                    case "version":
                        version = reader.GetInt64();
                        break;
                    case "time":
                        time = reader.GetDateTimeOffset();
                        break;
                    case "source":
                        source = reader.GetString();
                        break;
                    case "resources":
                        resources = Texts(ref reader);
                        break;
                    default:
                        reader.Skip();
                        break;
                }
            }
            while (Next(ref reader));
            if (!string.Equals(format, StoreFile.Format, StringComparison.Ordinal))
                throw Broken("this is no export of a store");
            if (version != StoreFile.Version)
                throw new InvalidDataException($"The export has format version {version}; this program reads version {StoreFile.Version}.");
            return _header = new HeaderRecord(time, source ?? throw Missing("source"), resources ?? throw Missing("resources"));
        }

        private ResourceRecord ParseResource(ref Utf8JsonReader reader)
        {
            string? name = null;
            long? revision = null;
            do
            {
                switch (Member(ref reader))
                {
                    case "resource":
                        name = reader.GetString();
                        break;
                    case "revision":
                        revision = reader.GetInt64();
                        break;
                    default:
                        reader.Skip();
                        break;
                }
            }
            while (Next(ref reader));
            if (_resources >= _header!.Resources.Count || !string.Equals(_header.Resources[_resources], name, StringComparison.Ordinal))
                throw Broken($"'{name}' is not the resource that the header names next");
            if (string.IsNullOrEmpty(name) || revision is null or < 0)
                throw Broken("name or revision are missing or impossible");
            _resources++;
            _keys.Clear();
            _revisions.Clear();
            _claims.Clear();
            _fences.Clear();
            _queued.Clear();
            return _resource = new ResourceRecord(name, revision.Value);
        }

        private ObjectRecord ParseObject(ref Utf8JsonReader reader, ReadOnlySpan<byte> line)
        {
            string? key = null;
            long revision = 0;
            byte[]? value = null;
            List<string> claims = [];
            do
            {
                switch (Member(ref reader))
                {
                    case "key":
                        key = reader.GetString();
                        break;
                    case "revision":
                        revision = reader.GetInt64();
                        break;
                    case "claims":
                        claims = Texts(ref reader);
                        break;
                    case "value":
                        var start = (int)reader.TokenStartIndex;
                        reader.Skip();
                        value = line[start..(int)reader.BytesConsumed].ToArray();
                        break;
                    case "base64":
                        value = reader.GetBytesFromBase64();
                        break;
                    default:
                        reader.Skip();
                        break;
                }
            }
            while (Next(ref reader));
            var resource = _resource ?? throw Broken("an object comes before its resource");
            if (string.IsNullOrEmpty(key) || value is null)
                throw Missing("key or value");
            if (value.Length > ValueCodec.MaxValueBytes)
                throw Broken($"the value has {value.Length} bytes, more than {ValueCodec.MaxValueBytes}");
            if (revision < 1 || revision > resource.Revision || !_revisions.Add(revision))
                throw Broken($"'{key}' has revision {revision}, which is above that of {resource.Resource} or another object's");
            if (!_keys.Add(key))
                throw Broken($"'{key}' comes twice in {resource.Resource}");
            foreach (var claim in claims)
            {
                if (claim.Length == 0 || claim.Contains('\n', StringComparison.Ordinal) || !_claims.Add(claim))
                    throw Broken($"the claim '{claim}' of '{key}' is no name or comes twice in {resource.Resource}");
            }
            _objects++;
            return new ObjectRecord(key, revision, value, claims);
        }

        private FenceRecord ParseFence(ref Utf8JsonReader reader)
        {
            string? name = null;
            long value = 0;
            do
            {
                switch (Member(ref reader))
                {
                    case "fence":
                        name = reader.GetString();
                        break;
                    case "value":
                        value = reader.GetInt64();
                        break;
                    default:
                        reader.Skip();
                        break;
                }
            }
            while (Next(ref reader));
            if (_resource is null || name is null || value < 0 || !_fences.Add(name))
                throw Broken($"the fence '{name}' belongs to no resource, comes twice or has no value");
            _fenceCount++;
            return new FenceRecord(name, value);
        }

        private QueueRecord ParseQueueItem(ref Utf8JsonReader reader)
        {
            string? queue = null, key = null;
            long priority = 0;
            DateTimeOffset? enqueuedAt = null;
            do
            {
                switch (Member(ref reader))
                {
                    case "queue":
                        queue = reader.GetString();
                        break;
                    case "key":
                        key = reader.GetString();
                        break;
                    case "priority":
                        priority = reader.GetInt64();
                        break;
                    case "enqueuedAt":
                        enqueuedAt = reader.GetDateTimeOffset();
                        break;
                    default:
                        reader.Skip();
                        break;
                }
            }
            while (Next(ref reader));
            if (_resource is null || string.IsNullOrEmpty(queue) || string.IsNullOrEmpty(key) || enqueuedAt is null || !_queued.Add((queue, key)))
                throw Broken($"the item '{key}' of the queue '{queue}' belongs to no resource, comes twice or lacks a member");
            _queueItems++;
            return new QueueRecord(queue, key, priority, enqueuedAt.Value);
        }

        private StoreRecord? ParseTrailer(ref Utf8JsonReader reader)
        {
            long resources = -1, objects = -1, fences = -1, queueItems = -1;
            string? sha256 = null;
            do
            {
                switch (Member(ref reader))
                {
                    case "resources":
                        resources = reader.GetInt64();
                        break;
                    case "objects":
                        objects = reader.GetInt64();
                        break;
                    case "fences":
                        fences = reader.GetInt64();
                        break;
                    case "queueItems":
                        queueItems = reader.GetInt64();
                        break;
                    case "sha256":
                        sha256 = reader.GetString();
                        break;
                    default:
                        reader.Skip();
                        break;
                }
            }
            while (Next(ref reader));
            if (resources != _resources || resources != _header!.Resources.Count || objects != _objects || fences != _fenceCount || queueItems != _queueItems)
                throw Broken("the trailer counts other than what is in the file");
            if (!string.Equals(sha256, Convert.ToHexStringLower(_hash.GetHashAndReset()), StringComparison.Ordinal))
                throw new InvalidDataException("The file was altered: its SHA-256 is not the one in its trailer.");
            _ended = true;
            return null;
        }

        private InvalidDataException Missing(string what) => Broken($"{what} is missing");

        // On a member's name: its name, with the reader moved to the value.
        private static string Member(ref Utf8JsonReader reader)
        {
            var name = reader.GetString()!;
            reader.Read();
            return name;
        }

        // Behind a member's value: true if another name follows; else the object ends, and so does the line.
        private static bool Next(ref Utf8JsonReader reader)
        {
            reader.Read();
            if (reader.TokenType == JsonTokenType.PropertyName)
                return true;
            reader.Read(); // Throws if anything follows.
            return false;
        }

        private static List<string> Texts(ref Utf8JsonReader reader)
        {
            if (reader.TokenType != JsonTokenType.StartArray)
                throw new JsonException("Not an array.");
            List<string> texts = [];
            while (reader.Read() && reader.TokenType != JsonTokenType.EndArray)
                texts.Add(reader.GetString() ?? throw new JsonException("Not a text."));
            return texts;
        }
    }
}
