using System.Buffers.Binary;
using System.IO.Compression;
using System.Text;

namespace OrleansCluster.Kubelet.Streaming;

/// <summary>
/// Reads the header blocks a SPDY/3 client sends: one zlib stream that presupposes a dictionary, ended by a sync flush after each block.
/// </summary>
/// <remarks>
/// .NET's inflater takes no preset dictionary. A dictionary is nothing but output that was there before, though: the client's two zlib header bytes and
/// four of the dictionary's checksum are cut off, and the inflater is first fed a stored block that holds the dictionary, whose output is thrown away.
/// </remarks>
internal sealed class SpdyHeaders : IDisposable
{
    private const int ZlibHeaderBytes = 6;
    private const int MaxPairs = 64, MaxTextBytes = 16 * 1024;

    private readonly Feed _feed = new();
    private readonly DeflateStream _inflater;
    private bool _started;

    public SpdyHeaders() => _inflater = new DeflateStream(_feed, CompressionMode.Decompress);

    /// <summary>The SPDY/3 dictionary (draft 3, section 2.6.10.1): length-prefixed words, then common texts. 1423 bytes, Adler-32 e3c6a7c2.</summary>
    internal static byte[] Dictionary { get; } = BuildDictionary();

    /// <summary>The pairs of the next block. Only what the block says is read from it, so the inflater never runs dry.</summary>
    public Dictionary<string, string> Read(ReadOnlyMemory<byte> block)
    {
        if (!_started)
        {
            if (block.Length < ZlibHeaderBytes || (block.Span[0] & 0x0f) != 8)
            {
                throw new InvalidDataException("the first header block is no zlib stream");
            }

            _started = true;
            var hasDictionary = (block.Span[1] & 0x20) != 0;
            block = block[(hasDictionary ? ZlibHeaderBytes : 2)..];
            var length = (ushort)Dictionary.Length;
            var stored = new byte[5 + Dictionary.Length];
            BinaryPrimitives.WriteUInt16LittleEndian(stored.AsSpan(1), length);
            BinaryPrimitives.WriteUInt16LittleEndian(stored.AsSpan(3), (ushort)~length);
            Dictionary.CopyTo(stored.AsSpan(5));
            _feed.Add(stored);
            _feed.Add(block);
            _inflater.ReadExactly(new byte[Dictionary.Length]);
        }
        else
        {
            _feed.Add(block);
        }

        var pairs = new Dictionary<string, string>(StringComparer.OrdinalIgnoreCase);
        var count = ReadNumber(MaxPairs);
        for (var index = 0; index < count; index++)
        {
            var name = ReadText();
            pairs[name] = ReadText();
        }

        return pairs;
    }

    public void Dispose()
    {
        _inflater.Dispose();
        _feed.Dispose();
    }

    private static byte[] BuildDictionary()
    {
        const string words =
            "options,head,post,put,delete,trace,accept,accept-charset,accept-encoding,accept-language,accept-ranges,age,allow,authorization," +
            "cache-control,connection,content-base,content-encoding,content-language,content-length,content-location,content-md5," +
            "content-range,content-type,date,etag,expect,expires,from,host,if-match,if-modified-since,if-none-match,if-range," +
            "if-unmodified-since,last-modified,location,max-forwards,pragma,proxy-authenticate,proxy-authorization,range,referer," +
            "retry-after,server,te,trailer,transfer-encoding,upgrade,user-agent,vary,via,warning,www-authenticate,method,get,status," +
            "200 OK,version,HTTP/1.1,url,public,set-cookie,keep-alive,origin";
        const string texts =
            "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505" +
            "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden" +
            "404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable" +
            "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT" +
            "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,public" +
            "privatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.";
        using var dictionary = new MemoryStream();
        Span<byte> length = stackalloc byte[4];
        foreach (var word in words.Split(','))
        {
            BinaryPrimitives.WriteInt32BigEndian(length, word.Length);
            dictionary.Write(length);
            dictionary.Write(Encoding.ASCII.GetBytes(word));
        }

        dictionary.Write(Encoding.ASCII.GetBytes(texts));
        return dictionary.ToArray();
    }

    private int ReadNumber(int most)
    {
        Span<byte> bytes = stackalloc byte[4];
        _inflater.ReadExactly(bytes);
        var number = BinaryPrimitives.ReadUInt32BigEndian(bytes);
        return number <= most ? (int)number : throw new InvalidDataException($"a header block with {number} pairs or bytes");
    }

    private string ReadText()
    {
        var text = new byte[ReadNumber(MaxTextBytes)];
        _inflater.ReadExactly(text);
        return Encoding.UTF8.GetString(text);
    }

    /// <summary>Gives the inflater what has come so far.</summary>
    private sealed class Feed : Stream
    {
        private readonly Queue<ReadOnlyMemory<byte>> _blocks = new();

        public override bool CanRead => true;

        public override bool CanSeek => false;

        public override bool CanWrite => false;

        public override long Length => throw new NotSupportedException();

        public override long Position
        {
            get => throw new NotSupportedException();
            set => throw new NotSupportedException();
        }

        public void Add(ReadOnlyMemory<byte> block)
        {
            if (block.Length > 0)
            {
                _blocks.Enqueue(block);
            }
        }

        public override int Read(Span<byte> buffer)
        {
            if (!_blocks.TryDequeue(out var block))
            {
                throw new InvalidDataException("a header block ends too early");
            }

            var count = Math.Min(block.Length, buffer.Length);
            block.Span[..count].CopyTo(buffer);
            if (count < block.Length)
            {
                // Back to the front: what waits behind it goes once around.
                var rest = block[count..];
                var waiting = _blocks.Count;
                _blocks.Enqueue(rest);
                for (; waiting > 0; waiting--)
                {
                    _blocks.Enqueue(_blocks.Dequeue());
                }
            }

            return count;
        }

        public override int Read(byte[] buffer, int offset, int count) => Read(buffer.AsSpan(offset, count));

        public override void Flush()
        {
            // Nothing is written.
        }

        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();

        public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();
    }
}
