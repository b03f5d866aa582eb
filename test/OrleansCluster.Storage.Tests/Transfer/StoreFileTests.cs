using System.IO.Compression;
using System.Security.Cryptography;
using System.Text;
using Microsoft.Data.Sqlite;

namespace OrleansCluster.Storage.Tests.Transfer;

/// <summary>The file of an export: what is written comes back, and what was cut, altered or made up is refused before anything is done with it.</summary>
public sealed class StoreFileTests
{
    private static readonly StoreRecord[] Records =
    [
        new HeaderRecord(new DateTimeOffset(2026, 1, 2, 3, 4, 5, 678, TimeSpan.Zero), "sqlite", ["nodes", "pods"]),
        new ResourceRecord("nodes", 0),
        new ResourceRecord("pods", 12),
        new ObjectRecord("a/x", 7, """{"kind":"Pod","metadata":{"name":"x","note":"\"\\\u2028"},"n":1.50e3}"""u8.ToArray(), ["ip/1", "ip/2"]),
        new ObjectRecord("a/\"odd\"\nkey", 12, [0, 1, 255], []),
        new FenceRecord("node/n1", 3),
        new QueueRecord("q", "a/x", -5, new DateTimeOffset(2026, 1, 1, 0, 0, 0, TimeSpan.Zero).AddTicks(1234567)),
    ];

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    private static async Task<byte[]> WriteAsync(params StoreRecord[] records)
    {
        using var file = new MemoryStream();
        await StoreFileWriter.WriteAsync(file, records.ToAsyncEnumerable(), null, Token);
        return file.ToArray();
    }

    private static async Task<StoreRecord[]> ReadAsync(Stream file) => await StoreFileReader.ReadAsync(file, Token).ToArrayAsync(Token);

    private static string Text(StoreRecord record) => record switch
    {
        HeaderRecord h => $"{h.Time:O} {h.Source} {string.Join(' ', h.Resources)}",
        ObjectRecord o => $"{o.Key} {o.Revision} {Convert.ToHexString(o.Value)} {string.Join(' ', o.Claims)}",
        _ => record.ToString(),
    };

    /// <summary>Lines with the trailer that belongs to them.</summary>
    private static byte[] Sealed(string counts, params string[] lines)
    {
        var body = string.Concat(lines.Select(l => l + "\n"));
        return Encoding.UTF8.GetBytes($$"""{{body}}{"end":true,{{counts}},"sha256":"{{Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(body)))}}"}""" + "\n");
    }

    private static async Task RefusedAsync(string because, byte[] file)
    {
        var refusal = await Assert.ThrowsAsync<InvalidDataException>(() => StoreFileReader.VerifyAsync(new MemoryStream(file), Token));
        Assert.Contains(because, refusal.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task What_is_written_is_read()
    {
        var file = await WriteAsync(Records);
        Assert.Equal(Records.Select(Text), (await ReadAsync(new MemoryStream(file))).Select(Text));
        var summary = await StoreFileReader.VerifyAsync(new MemoryStream(file), Token);
        Assert.Equal((2, 2L, 1L, 1L, (long)file.Length), (summary.Resources, summary.Objects, summary.Fences, summary.QueueItems, summary.Bytes));
    }

    [Fact]
    public async Task The_form_is_the_documented_one()
    {
        var lines = Encoding.UTF8.GetString(await WriteAsync(Records)).Split('\n');
        Assert.Equal("""{"format":"orleanscluster-store","version":1,"time":"2026-01-02T03:04:05.678+00:00","source":"sqlite","resources":["nodes","pods"]}""", lines[0]);
        Assert.Equal("""{"resource":"pods","revision":12}""", lines[2]);
        Assert.Equal(
            """{"key":"a/x","revision":7,"claims":["ip/1","ip/2"],"value":{"kind":"Pod","metadata":{"name":"x","note":"\"\\\u2028"},"n":1.50e3}}""", lines[3]);
        Assert.EndsWith("\"base64\":\"AAH/\"}", lines[4], StringComparison.Ordinal);
        Assert.Equal("""{"fence":"node/n1","value":3}""", lines[5]);
        Assert.StartsWith("""{"end":true,"resources":2,"objects":2,"fences":1,"queueItems":1,"sha256":""", lines[7], StringComparison.Ordinal);
        Assert.Equal("", lines[8]);
    }

    [Fact]
    public async Task Cut_anywhere_it_is_refused()
    {
        var file = await WriteAsync(Records);
        for (var length = 0; length < file.Length; length++)
            await Assert.ThrowsAsync<InvalidDataException>(() => StoreFileReader.VerifyAsync(new MemoryStream(file, 0, length), Token));
    }

    [Fact]
    public async Task One_bit_flipped_anywhere_is_refused()
    {
        var file = await WriteAsync(Records);
        for (var bit = 0; bit < file.Length * 8; bit++)
        {
            var altered = (byte[])file.Clone();
            altered[bit / 8] ^= (byte)(1 << (bit % 8));
            await Assert.ThrowsAsync<InvalidDataException>(() => StoreFileReader.VerifyAsync(new MemoryStream(altered), Token));
        }
    }

    [Fact]
    public async Task A_compressed_file_that_was_cut_or_altered_is_refused_or_still_says_the_same()
    {
        using var packed = new MemoryStream();
        await using (var gzip = new GZipStream(packed, CompressionLevel.Optimal, leaveOpen: true))
            await gzip.WriteAsync(await WriteAsync(Records), Token);
        var file = packed.ToArray();
        async Task<string[]?> UnpackAsync(byte[] bytes)
        {
            try
            {
                await using var gzip = new GZipStream(new MemoryStream(bytes), CompressionMode.Decompress);
                return [.. (await ReadAsync(gzip)).Select(Text)];
            }
            catch (InvalidDataException)
            {
                return null;
            }
        }
        var whole = await UnpackAsync(file);
        Assert.NotNull(whole);
        for (var length = 0; length < file.Length; length++)
        {
            if (await UnpackAsync(file[..length]) is { } read)
                Assert.Equal(whole, read); // Only gzip's own end is missing.
        }
        for (var bit = 0; bit < file.Length * 8; bit++)
        {
            var altered = (byte[])file.Clone();
            altered[bit / 8] ^= (byte)(1 << (bit % 8));
            if (await UnpackAsync(altered) is { } read)
                Assert.Equal(whole, read); // A bit of gzip's header that says nothing about the content.
        }
    }

    private const string Header = """{"format":"orleanscluster-store","version":1,"time":"2026-01-02T03:04:05Z","source":"sqlite","resources":["pods"]}""";
    private const string Pods = """{"resource":"pods","revision":12}""";
    private const string One = "\"resources\":1,\"objects\":1,\"fences\":0,\"queueItems\":0";
    private const string Two = "\"resources\":1,\"objects\":2,\"fences\":0,\"queueItems\":0";

    [Fact]
    public async Task What_contradicts_itself_is_refused_though_its_sum_is_right()
    {
        const string x = """{"key":"a/x","revision":7,"value":{}}""";
        await StoreFileReader.VerifyAsync(new MemoryStream(Sealed(One, Header, Pods, x)), Token);
        await RefusedAsync("format version 2", Sealed(One, Header.Replace("\"version\":1", "\"version\":2", StringComparison.Ordinal), Pods, x));
        await RefusedAsync("no export", Encoding.UTF8.GetBytes("apiVersion: v1\n"));
        await RefusedAsync("no export", Sealed(One, """{"format":"other","version":1}""", Pods, x));
        await RefusedAsync("empty", []);
        await RefusedAsync("a header comes once", Sealed(One, Header, Header, Pods, x));
        await RefusedAsync("comes twice", Sealed(Two, Header, Pods, x, x.Replace(":7", ":8", StringComparison.Ordinal)));
        await RefusedAsync("another object's", Sealed(Two, Header, Pods, x, x.Replace("a/x", "a/y", StringComparison.Ordinal)));
        await RefusedAsync("above that of pods", Sealed(One, Header, Pods, x.Replace(":7", ":13", StringComparison.Ordinal)));
        await RefusedAsync("before its resource", Sealed(One, Header, x, Pods));
        await RefusedAsync("not the resource", Sealed(One, Header, Pods.Replace("pods", "nodes", StringComparison.Ordinal), x));
        await RefusedAsync("not the resource", Sealed(One, Header, Pods, x, Pods));
        await RefusedAsync("counts other", Sealed(Two, Header, Pods, x));
        await RefusedAsync("counts other", Sealed("\"resources\":0,\"objects\":0,\"fences\":0,\"queueItems\":0", Header));
        await RefusedAsync("no kind of line", Sealed(One, Header, Pods, """{"secret":1}""", x));
        await RefusedAsync("no line", Sealed(One, Header, Pods, x + x));
        await RefusedAsync("no line", Sealed(One, Header, Pods, ""));
        await RefusedAsync("no line", Sealed(One, Header, Pods, """{"key":7,"revision":7,"value":{}}"""));
        await RefusedAsync("key or value", Sealed(One, Header, Pods, """{"key":"a/x","revision":7}"""));
        await RefusedAsync("the claim", Sealed(Two, Header, Pods, """{"key":"a/x","revision":7,"claims":["c"],"value":{}}""", """{"key":"a/y","revision":8,"claims":["c"],"value":{}}"""));
        await RefusedAsync("the fence", Sealed(One, Header, Pods, x, """{"fence":"f","value":-1}"""));
        await RefusedAsync("the item", Sealed(One, Header, Pods, x, """{"queue":"q","priority":1}"""));
        await RefusedAsync("after the trailer", [.. Sealed(One, Header, Pods, x), .. "{}\n"u8]);
        await RefusedAsync("cut", [.. Sealed(One, Header, Pods, x), .. "{"u8]);
    }

    [Fact]
    public async Task Members_that_are_not_known_are_passed_over()
    {
        await StoreFileReader.VerifyAsync(new MemoryStream(Sealed(One, Header, Pods, """{"key":"a/x","new":{"a":[1]},"revision":7,"value":{},"more":null}""")), Token);
    }

    [Theory]
    [InlineData("")]
    [InlineData("{}")]
    [InlineData(" {}")]
    [InlineData("{} ")]
    [InlineData("{\"a\":1}\n")]
    [InlineData("{\"a\":\r1}")]
    [InlineData("{\"a\":1,}")]
    [InlineData("{}{}")]
    [InlineData("[1]")]
    [InlineData("text")]
    [InlineData("\ufeff{}")]
    public async Task Any_value_comes_back_byte_for_byte(string value)
    {
        foreach (var bytes in (byte[][])[Encoding.UTF8.GetBytes(value), [.. Encoding.UTF8.GetBytes(value), 0xC3], [.. "{\"a\":\""u8, 0xC3, .. "\"}"u8]])
        {
            var read = await ReadAsync(new MemoryStream(await WriteAsync(
                new HeaderRecord(default, "test", ["r"]), new ResourceRecord("r", 1), new ObjectRecord("k", 1, bytes, []))));
            Assert.Equal(bytes, ((ObjectRecord)read[2]).Value);
        }
    }

    [Fact]
    public async Task Deep_values_come_back_byte_for_byte()
    {
        foreach (var depth in (int[])[60, 70, 511, 512, 513, 5000])
        {
            var bytes = Encoding.UTF8.GetBytes(string.Concat(Enumerable.Repeat("{\"a\":", depth)) + "1" + new string('}', depth));
            var read = await ReadAsync(new MemoryStream(await WriteAsync(
                new HeaderRecord(default, "test", ["r"]), new ResourceRecord("r", 1), new ObjectRecord("k", 1, bytes, []))));
            Assert.Equal(bytes, ((ObjectRecord)read[2]).Value);
        }
    }

    [Fact]
    public async Task An_sqlite_file_of_schema_version_1_opens_and_exports()
    {
        await using var place = new SqliteTransferStore();
        Directory.CreateDirectory(Path.GetDirectoryName(place.Path)!);
        await using (var connection = new SqliteConnection($"Data Source={place.Path};Pooling=False"))
        {
            await connection.OpenAsync(Token);
            await using var command = connection.CreateCommand();
            command.CommandText = $"""
                CREATE TABLE starts(count INTEGER NOT NULL);
                INSERT INTO starts VALUES(3);
                CREATE TABLE resources(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, revision INTEGER NOT NULL, compacted INTEGER NOT NULL);
                CREATE TABLE log(id INTEGER PRIMARY KEY, kind INTEGER NOT NULL, previous INTEGER NOT NULL, key TEXT NOT NULL, claims TEXT, value BLOB NOT NULL);
                CREATE TABLE queue(sequence INTEGER PRIMARY KEY, resource INTEGER NOT NULL, name TEXT NOT NULL, key TEXT NOT NULL,
                  priority INTEGER NOT NULL, enqueued INTEGER NOT NULL);
                CREATE TABLE fences(resource INTEGER NOT NULL, name TEXT NOT NULL, value INTEGER NOT NULL, PRIMARY KEY(resource, name)) WITHOUT ROWID;
                CREATE TABLE consumer_groups(resource INTEGER NOT NULL, name TEXT NOT NULL, acknowledged INTEGER NOT NULL, PRIMARY KEY(resource, name)) WITHOUT ROWID;
                INSERT INTO resources VALUES(1, 'pods', 0, 0), (2, 'nodes', 0, 0);
                INSERT INTO log VALUES({(1L << 44) | 1}, 0, 0, 'a/x', 'ip/1', x'01'), ({(1L << 44) | 2}, 0, 1, 'a/x', 'ip/1', x'02'), ({(2L << 44) | 1}, 0, 0, 'n1', NULL, x'03');
                PRAGMA user_version = 1;
                """;
            await command.ExecuteNonQueryAsync(Token);
        }
        async Task<string[]> ExportAsync()
        {
            await using var transfer = place.Transfer();
            return [.. await transfer.ReadAllAsync(null, Token).Where(r => r is not HeaderRecord).Select(Text).ToArrayAsync(Token)];
        }
        var old = await ExportAsync();
        Assert.Equal(["ResourceRecord { Resource = nodes, Revision = 1 }", "n1 1 03 ", "ResourceRecord { Resource = pods, Revision = 2 }", "a/x 2 02 ip/1"], old);
        await using (var store = await place.OpenAsync())
        {
            Assert.Equal([1, 2], (await store.ReadChangesAsync("pods", 0, 10, TimeSpan.Zero, Token)).Select(c => c.Revision));
            Assert.Equal([3], (await store.GetAsync("nodes", "n1", Token))!.Value);
        }
        Assert.Equal(old, await ExportAsync());
    }

    [Fact]
    public async Task Import_IntoADatabaseInUse_IsRefused()
    {
        await using var place = new SqliteTransferStore();
        await using var store = await place.OpenAsync();
        await using var transfer = place.Transfer();
        var refusal = await Assert.ThrowsAsync<StoreUnavailableException>(() => transfer.WriteAllAsync(Records.ToAsyncEnumerable(), replace: true, Token));
        Assert.Contains("in use by another process", refusal.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Import_OverSomethingThatIsNoDatabase_ReplacesIt()
    {
        await using var place = new SqliteTransferStore();
        Directory.CreateDirectory(Path.GetDirectoryName(place.Path)!);
        await File.WriteAllTextAsync(place.Path, new string('x', 10_000), Token);
        await using (var transfer = place.Transfer())
            await transfer.WriteAllAsync(Records.ToAsyncEnumerable(), replace: true, Token);
        await using var store = await place.OpenAsync();
        Assert.Equal(7, (await store.GetAsync("pods", "a/x", Token))!.Revision);
    }

    [Fact]
    public async Task Check_FindsGapsInTheLogAndRowsThatDisagree()
    {
        await using var place = new SqliteTransferStore();
        await using (var store = await place.OpenAsync())
        {
            for (var i = 1; i <= 5; i++)
                await store.CommitAsync(TestObjects.Put($"a/{i}", 0) with { Claims = [$"ip/{i}"] }, Token);
        }
        await using (var connection = new SqliteConnection($"Data Source={place.Path};Pooling=False"))
        {
            await connection.OpenAsync(Token);
            await using var command = connection.CreateCommand();
            command.CommandText = $"DELETE FROM log WHERE id = {(1L << 53) | 3}; UPDATE log SET claims = 'ip/1' WHERE id = {(1L << 53) | 5}";
            await command.ExecuteNonQueryAsync(Token);
        }
        await using var transfer = place.Transfer();
        var report = await StoreCheck.RunAsync(transfer, Token);
        Assert.Collection(
            report.Problems,
            p => Assert.Equal("pods 'a/5': its claim 'ip/1' is also held by 'a/1'.", p),
            p => Assert.Equal("pods: The log has a gap: 2 is followed by 4.", p));
    }
}
