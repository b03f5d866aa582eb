using System.Text;
using System.Text.Json.Nodes;
using CsCheck;

namespace OrleansCluster.Api.Tests.Schema;

public sealed class KubernetesTimeTests
{
    [Theory]
    [InlineData("2024-02-29T23:59:59Z", "2024-02-29T23:59:59Z", "2024-02-29T23:59:59.000000Z")]
    [InlineData("2024-05-01T12:00:00.1234567891+02:00", "2024-05-01T10:00:00Z", "2024-05-01T10:00:00.123456Z")]
    [InlineData("2024-05-01T12:00:00.5-00:30", "2024-05-01T12:30:00Z", "2024-05-01T12:30:00.500000Z")]
    public void TryParse_Rfc3339_GivesUtc(string text, string seconds, string micro)
    {
        Assert.True(KubernetesTime.TryParse(text, out var time));
        Assert.Equal(seconds, KubernetesTime.Format(time));
        Assert.Equal(micro, KubernetesTime.FormatMicro(time));
    }

    [Theory]
    [InlineData(null)]
    [InlineData("")]
    [InlineData("2024-05-01")]
    [InlineData("2024-05-01 12:00:00Z")]
    [InlineData("2024-02-30T12:00:00Z")]
    [InlineData("2024-05-01T24:00:00Z")]
    [InlineData("2024-05-01T12:00:60Z")]
    [InlineData("2024-05-01T12:00:00")]
    [InlineData("2024-05-01T12:00:00.Z")]
    [InlineData("2024-05-01T12:00:00+2:00")]
    [InlineData("0000-05-01T12:00:00Z")]
    public void TryParse_AnythingElse_Fails(string? text) => Assert.False(KubernetesTime.TryParse(text, out _));

    [Theory]
    [InlineData(0, "0s")]
    [InlineData(1, "1ns")]
    [InlineData(1_500, "1.5µs")]
    [InlineData(20_000_000, "20ms")]
    [InlineData(1_500_000_000, "1.5s")]
    [InlineData(60_000_000_000, "1m0s")]
    [InlineData(3_600_000_000_000, "1h0m0s")]
    [InlineData(-5_400_000_000_000, "-1h30m0s")]
    public void FormatDuration_PrintsAsGoDoes(long nanoseconds, string expected)
    {
        Assert.Equal(expected, KubernetesTime.FormatDuration(nanoseconds));
        Assert.True(KubernetesTime.TryParseDuration(expected, out var parsed));
        Assert.Equal(nanoseconds, parsed);
    }

    [Theory]
    [InlineData("")]
    [InlineData("1")]
    [InlineData("s")]
    [InlineData("1.2.3s")]
    [InlineData("1 s")]
    [InlineData("99999999999999999999h")]
    public void TryParseDuration_NotADuration_Fails(string text) => Assert.False(KubernetesTime.TryParseDuration(text, out _));

    [Fact]
    public void Duration_PrintThenParse_RoundTrips() =>
        Gen.Long.Sample(n => n == long.MinValue || (KubernetesTime.TryParseDuration(KubernetesTime.FormatDuration(n), out var parsed) && parsed == n));

    [Fact]
    public void IsCanonical_AgreesWithTheParser() =>
        Gen.Select(Gen.Int[0, 9999], Gen.Int[0, 13], Gen.Int[0, 32], Gen.Int[0, 25], Gen.Int[0, 61], Gen.Int[0, 61]).Sample((year, month, day, hour, minute, second) =>
        {
            var text = $"{year:D4}-{month:D2}-{day:D2}T{hour:D2}:{minute:D2}:{second:D2}Z";
            return KubernetesTime.IsCanonical(Encoding.ASCII.GetBytes(text)) == KubernetesTime.TryParse(text, out _);
        });

    [Theory]
    [InlineData("5", 0, null)]
    [InlineData("\"http\"", 0, "http")]
    public void IntOrString_Read_KeepsWhatItIs(string json, int number, string? text)
    {
        Assert.True(IntOrString.TryRead(JsonNode.Parse(json), out var value));
        Assert.Equal(text, value.Text);
        Assert.Equal(json, value.ToJson().ToJsonString());
        Assert.True(number == 0);
        Assert.False(IntOrString.TryRead(JsonNode.Parse("1.5"), out _));
        Assert.False(IntOrString.TryRead(JsonNode.Parse("true"), out _));
        Assert.False(IntOrString.TryRead(null, out _));
    }

    [Theory]
    [InlineData("\"25%\"", 10, true, 3)]
    [InlineData("\"25%\"", 10, false, 2)]
    [InlineData("\"100%\"", 7, true, 7)]
    [InlineData("4", 10, true, 4)]
    public void IntOrString_Scale_RoundsAsAsked(string json, int total, bool roundUp, int expected)
    {
        Assert.True(IntOrString.TryRead(JsonNode.Parse(json), out var value));
        Assert.True(value.TryScale(total, roundUp, out var count));
        Assert.Equal(expected, count);
    }
}
