import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * A login back end with the client of the JDK and its default settings, with which it offers h2c on
 * each http:// URL. Arguments: the service, the API key, a phone number. It prints the id of the
 * challenge, reads the code from standard input, and prints each status.
 */
class JdkClient {
    static final Pattern ID = Pattern.compile("\"id\":\"([^\"]+)\"");

    public static void main(String[] arguments) throws Exception {
        var service = arguments[0];
        var key = arguments[1];
        var client = HttpClient.newHttpClient();
        var issued = send(client, key, service + "/v1/challenges",
            "{\"phone_number\": \"" + arguments[2] + "\"}");
        Matcher id = ID.matcher(issued.body());
        System.out.println("issued " + issued.statusCode() + " " + issued.version()
            + (id.find() ? " " + id.group(1) : ""));
        var code = new java.util.Scanner(System.in).nextLine();
        var path = service + "/v1/challenges/" + id.group(1) + "/verify";
        var wrong = send(client, key, path, "{\"code\": \"" + other(code) + "\"}");
        System.out.println("wrong " + wrong.statusCode());
        var verified = send(client, key, path, "{\"code\": \"" + code + "\"}");
        System.out.println("verified " + verified.statusCode());
    }

    static String other(String code) {
        return (code.charAt(0) == '0' ? "1" : "0") + code.substring(1);
    }

    static HttpResponse<String> send(HttpClient client, String key, String url, String body)
            throws Exception {
        var request = HttpRequest.newBuilder(URI.create(url))
            .header("Authorization", "Bearer " + key)
            .header("Content-Type", "application/json")
            .POST(BodyPublishers.ofString(body))
            .build();
        return client.sendAsync(request, BodyHandlers.ofString()).get(20, TimeUnit.SECONDS);
    }
}
