using System.Security.Cryptography;
using System.Text;

namespace OrleansCluster.Storage.Tests;

/// <summary>The stored form of values: what goes in comes out, what is broken is refused in words, and the format stays what it is.</summary>
public sealed class ValueCodecTests
{
    private static readonly string Pod =
        """{"kind":"Pod","apiVersion":"v1","metadata":{"name":"web-0","namespace":"default","uid":"8d4c9ea8-dd49-4001-9446-9de4497af1f9","creationTimestamp":"2026-01-02T03:04:05Z","labels":{"app":"web"}},"spec":{"containers":[{"name":"app","image":"example.org/web:1","resources":{},"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File","imagePullPolicy":"IfNotPresent"}],"restartPolicy":"Always","dnsPolicy":"ClusterFirst","serviceAccountName":"default"},"status":{"phase":"Pending","qosClass":"BestEffort"}}""";

    public static TheoryData<int> Lengths => [0, 1, 127, 128, 129, 1000, 16_383, 16_384, 100_000, 3 << 20];

    [Theory]
    [MemberData(nameof(Lengths))]
    public void Decode_OfEncode_IsTheValue(int length)
    {
        var text = new StringBuilder();
        while (text.Length < length)
            text.Append(Pod);
        var value = Encoding.UTF8.GetBytes(text.ToString(0, length));
        var stored = ValueCodec.Encode(value);
        Assert.Equal(value, ValueCodec.Decode(stored));
        if (length < 128)
            Assert.Equal(length + 1, stored.Length);
        else
            Assert.InRange(stored.Length, 1, (length * 4 / 5) + 1);
    }

    [Theory]
    [MemberData(nameof(Lengths))]
    public void Encode_NothingToGain_KeepsTheValueAsItIs(int length)
    {
        var value = Noise(length);
        var stored = ValueCodec.Encode(value);
        Assert.Equal(length + 1, stored.Length);
        Assert.Equal(0, stored[0]);
        Assert.Equal(value, ValueCodec.Decode(stored));
    }

    [Fact]
    public void Encode_AUsualPod_TakesAThirdAtMost()
    {
        Assert.InRange(ValueCodec.Encode(Encoding.UTF8.GetBytes(Pod)).Length, 1, Pod.Length / 3);
    }

    [Theory]
    [InlineData(600)]
    [InlineData(20_000)]
    public void Decode_CutAnywhere_IsRefused(int length)
    {
        var stored = ValueCodec.Encode(Text(length));
        Assert.NotEqual(0, stored[0]);
        for (var cut = 0; cut < stored.Length; cut++)
            Assert.Throws<InvalidDataException>(() => ValueCodec.Decode(stored.AsSpan(0, cut)));
    }

    [Theory]
    [InlineData(600)]
    [InlineData(20_000)]
    public void Decode_OneBitFlipped_NeverGivesAnotherValue(int length)
    {
        var value = Text(length);
        var stored = ValueCodec.Encode(value);
        for (var bit = 8; bit < stored.Length * 8; bit++)
        {
            var altered = (byte[])stored.Clone();
            altered[bit / 8] ^= (byte)(1 << (bit % 8));
            try
            {
                Assert.Equal(value, ValueCodec.Decode(altered)); // A bit that says nothing: reserved, or of the frame's window.
            }
            catch (InvalidDataException)
            {
                // The other good answer.
            }
        }
        // Whatever a failed attempt leaves behind must not reach the next value.
        Assert.Equal(value, ValueCodec.Decode(stored));
    }

    [Fact]
    public void Decode_SomethingElse_IsRefused()
    {
        Assert.Throws<InvalidDataException>(() => ValueCodec.Decode([]));
        Assert.Contains("format 3", Assert.Throws<InvalidDataException>(() => ValueCodec.Decode([3, 1, 2])).Message, StringComparison.Ordinal);
        Assert.Throws<InvalidDataException>(() => ValueCodec.Decode([1]));
        Assert.Throws<InvalidDataException>(() => ValueCodec.Decode([1, 0x80]));
        Assert.Throws<InvalidDataException>(() => ValueCodec.Decode([1, 0xFF, 0xFF, 0xFF, 0x7F, 1, 2, 3]));
        Assert.Throws<InvalidDataException>(() => ValueCodec.Decode([1, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1]));
        for (var i = 0; i < 2000; i++)
        {
            var noise = Noise(i % 300 + 2);
            noise[0] = (byte)(1 + (i % 2));
            Assert.Throws<InvalidDataException>(() => ValueCodec.Decode(noise));
        }
    }

    [Fact]
    public void Encode_TooLong_IsTheCallersError() =>
        Assert.Throws<ArgumentException>(() => ValueCodec.Encode(new byte[ValueCodec.MaxValueBytes + 1]));

    [Fact]
    public void Encode_AndDecode_FromManyThreads()
    {
        Parallel.For(0, 2000, i =>
        {
            var value = Text(200 + (i * 17 % 30_000));
            Assert.Equal(value, ValueCodec.Decode(ValueCodec.Encode(value)));
        });
    }

    [Fact]
    public void Format_1_ReadsWhatWasOnceWritten()
    {
        // Stored by the first version of this format: whoever changes the dictionary breaks every store that exists.
        Assert.Equal(Pod, Encoding.UTF8.GetString(ValueCodec.Decode(Convert.FromBase64String(PodInFormat1))));
    }

    private const string PodInFormat1 = "AY4EKLUv/QQAFQQAs4QMEolX05JCKB8OZTMdjSzZjpyWxLpaPXn38fqVLzJma2THWGTvZhxZrQyljZRVKGmelhQc/JsIYqCs+kTbjnAmMgXpdaYQ3ZkOaYYJ+IWm8KqisyQC2h9UAs9NRkeQz0iKZNreS3IsmBg5tgZg37gJQXBrOyOzAWAUpGgXFSkGARQgZTU=";

    private static byte[] Text(int length)
    {
        var text = new StringBuilder();
        while (text.Length < length)
            text.Append(Pod);
        return Encoding.UTF8.GetBytes(text.ToString(0, length));
    }

    private static byte[] Noise(int length)
    {
        // The same in every run: a hash chain as source.
        var noise = new byte[length];
        var block = SHA256.HashData(BitConverter.GetBytes(length));
        for (var at = 0; at < length; at += block.Length)
        {
            block = SHA256.HashData(block);
            block.AsSpan(0, Math.Min(block.Length, length - at)).CopyTo(noise.AsSpan(at));
        }
        return noise;
    }
}
